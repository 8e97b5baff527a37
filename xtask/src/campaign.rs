//! Campaigns: the long forms of tests, too long for every change.
//!
//! A campaign is an entry in [`CAMPAIGNS`] and nothing else: the ignored tests of one cargo test target, run for
//! release, told by environment variables how much to do. The tests read the variables, print the seed of a
//! failure, and have defaults of their own: a campaign knows no more of them than that.

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::step::{Step, TaskError};

/// How many seeds, rounds or kills a campaign's tests go through.
const SEEDS: &str = "ANNALS_SEEDS";
/// The seed they begin with.
const FIRST_SEED: &str = "ANNALS_FIRST_SEED";

/// The long form of a test.
struct Campaign {
    name: &'static str,
    description: &'static str,
    package: &'static str,
    /// The cargo test target, whose ignored tests are run.
    target: &'static str,
    /// What the tests are told, unless the caller's environment or command line says otherwise.
    variables: &'static [(&'static str, &'static str)],
}

const CAMPAIGNS: &[Campaign] = &[
    Campaign {
        name: "simulation",
        description: "the bank on the memory log under seeds with crashes and faults; two runs of a seed agree",
        package: "annals-bank",
        target: "simulation",
        variables: &[(SEEDS, "1000"), (FIRST_SEED, "1")],
    },
    Campaign {
        name: "kills",
        description: "kill -9 at random moments under load; what was acknowledged is there, once",
        package: "annals-cli",
        target: "kills",
        variables: &[(SEEDS, "100"), (FIRST_SEED, "1")],
    },
    Campaign {
        name: "storm",
        description: "processes contend for Kafka's shards, on one broker, then three; all are killed and stopped",
        package: "annals-cli",
        target: "storm",
        variables: &[(SEEDS, "200"), (FIRST_SEED, "1")],
    },
    Campaign {
        name: "copy-kills",
        description: "copies of a log killed with kill -9 at random moments; each goes on and is whole",
        package: "annals-cli",
        target: "binary",
        variables: &[(SEEDS, "100"), (FIRST_SEED, "1")],
    },
    Campaign {
        name: "import-kills",
        description: "the published sample imported whole: balances, order, rate; kill -9 on the way, one effect a row",
        package: "annals-bank",
        target: "import",
        variables: &[(SEEDS, "20"), (FIRST_SEED, "1")],
    },
    Campaign {
        name: "view-kills",
        description: "kill -9 while three views are folded and one is built anew; each is a fold of the log",
        package: "annals-views",
        target: "views",
        variables: &[(SEEDS, "200"), ("RUST_TEST_THREADS", "1")],
    },
    Campaign {
        name: "claims",
        description: "the claim protocol on simulated brokers, clients and nodes; nothing acknowledged lost or doubled",
        package: "annals-kafka",
        target: "simulation",
        variables: &[(SEEDS, "100000"), (FIRST_SEED, "1")],
    },
    Campaign {
        name: "kafka",
        description: "the Kafka log while brokers are stopped, killed and paused under load; its speed, printed",
        package: "annals-kafka",
        target: "broker",
        variables: &[(SEEDS, "20"), ("RUST_TEST_THREADS", "1")],
    },
];

/// Which campaign to run, and how much of it.
#[derive(Args)]
pub struct Choice {
    /// The campaign
    #[arg(value_parser = PossibleValuesParser::new(CAMPAIGNS.iter().map(|campaign| campaign.name)))]
    name: Option<String>,
    /// How many seeds (rounds, kills)
    #[arg(long, requires = "name", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first seed; to repeat a failure, give its seed and `--seeds 1`
    #[arg(long, requires = "name")]
    first_seed: Option<u64>,
}

/// Runs the campaign chosen, or lists all.
pub fn run(choice: &Choice) -> Result<(), TaskError> {
    let named = |campaign: &&Campaign| Some(campaign.name) == choice.name.as_deref();
    let Some(campaign) = CAMPAIGNS.iter().find(named) else {
        for Campaign { name, description, .. } in CAMPAIGNS {
            println!("{name:<14} {description}");
        }
        return Ok(());
    };
    if !holds_tests(&campaign.step(&["--list", "--format", "terse"]).read()?) {
        return Err(TaskError::EmptyCampaign { name: campaign.name, target: campaign.target });
    }
    let step = campaign.step(&["--nocapture"]);
    let environment = |name: &str| std::env::var(name).ok();
    campaign
        .settings(choice, environment)
        .into_iter()
        .fold(step, |step, (name, value)| step.env(name, value))
        .run()
}

impl Campaign {
    fn step(&self, arguments: &[&str]) -> Step {
        Step::cargo(["test", "--release", "--package", self.package, "--test", self.target])
            .arguments(["--", "--ignored"])
            .arguments(arguments.iter().copied())
    }

    /// What the tests are told: the command line goes before the environment, that before the table.
    fn settings(
        &self,
        choice: &Choice,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Vec<(&'static str, String)> {
        let chosen = |name: &str| match name {
            SEEDS => choice.seeds,
            FIRST_SEED => choice.first_seed,
            _ => None,
        };
        let value = |name: &str| chosen(name).map(|number| number.to_string()).or_else(|| environment(name));
        self.variables
            .iter()
            .map(|(name, usual)| (*name, value(name).unwrap_or_else(|| (*usual).to_owned())))
            .collect()
    }
}

/// Whether a terse list of tests names one.
fn holds_tests(list: &str) -> bool {
    list.lines().any(|line| line.ends_with(": test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Choice = Choice { name: None, seeds: None, first_seed: None };

    fn settings(choice: &Choice, environment: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let campaign = Campaign {
            name: "trial",
            description: "",
            package: "trial",
            target: "trial",
            variables: &[(SEEDS, "10"), (FIRST_SEED, "1"), ("ANNALS_OTHER", "x")],
        };
        let environment = |wanted: &str| {
            let found = environment.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        };
        campaign.settings(choice, environment)
    }

    #[test]
    fn command_line_goes_before_environment_before_table() {
        let choice = Choice { seeds: Some(5), ..NOTHING };
        assert_eq!(
            settings(&choice, &[(SEEDS, "6"), (FIRST_SEED, "7")]),
            [(SEEDS, "5".to_owned()), (FIRST_SEED, "7".to_owned()), ("ANNALS_OTHER", "x".to_owned())]
        );
        assert_eq!(
            settings(&NOTHING, &[]),
            [(SEEDS, "10".to_owned()), (FIRST_SEED, "1".to_owned()), ("ANNALS_OTHER", "x".to_owned())]
        );
    }

    #[test]
    fn a_list_without_tests_is_noticed() {
        assert!(holds_tests("kill_and_resume: test\n"));
        assert!(!holds_tests("\n"));
        assert!(!holds_tests("kill_and_resume: benchmark\n"));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = CAMPAIGNS.iter().map(|campaign| campaign.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CAMPAIGNS.len());
    }
}
