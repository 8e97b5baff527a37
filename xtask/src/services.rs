//! Services: servers that outlive the task that starts them.
//!
//! Says on the command line what `annals-services` does, and no more. Standard output has the address alone, so that a
//! script can take it from there; all else is said on standard error.

use annals_services::{Nodes, Services};
use clap::builder::PossibleValue;
use clap::{Subcommand, ValueEnum};

use crate::step::TaskError;

/// What to do with the services.
#[derive(Subcommand)]
pub enum Order {
    /// Starts them and prints their addresses, one a line; what is up already is used
    #[command(arg_required_else_help = true)]
    Up {
        /// Kafka, with so many nodes
        #[arg(long, value_name = "NODES")]
        kafka: Option<Size>,
        /// PostgreSQL
        #[arg(long)]
        postgres: bool,
    },
    /// Kills what is up and removes its data
    Down,
}

/// [`Nodes`] as it is typed.
#[derive(Clone, Copy)]
pub struct Size(Nodes);

impl ValueEnum for Size {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(Nodes::One), Self(Nodes::Three)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self.0 {
            Nodes::One => "1",
            Nodes::Three => "3",
        }))
    }
}

/// Does it.
pub fn run(order: &Order) -> Result<(), TaskError> {
    let services = Services::of_cache()?;
    match order {
        Order::Up { kafka, postgres } => {
            kafka.map_or(Ok(()), |Size(nodes)| up_kafka(&services, nodes))?;
            if *postgres { up_postgres(&services) } else { Ok(()) }
        }
        Order::Down => down(&services),
    }
}

fn up_kafka(services: &Services, nodes: Nodes) -> Result<(), TaskError> {
    let kafka = services.up_kafka(nodes)?;
    let logs = kafka.directory.join("node-*/broker.log");
    eprintln!("Kafka {}, {nodes}; logs: {}", state(kafka.was_up), logs.display());
    println!("{}", kafka.url);
    Ok(())
}

fn up_postgres(services: &Services) -> Result<(), TaskError> {
    let postgres = services.up_postgres()?;
    let log = postgres.directory.join("postgres.log");
    eprintln!("PostgreSQL {}; log: {}", state(postgres.was_up), log.display());
    println!("{}", postgres.url);
    Ok(())
}

fn state(was_up: bool) -> &'static str {
    if was_up { "was up" } else { "is up" }
}

fn down(services: &Services) -> Result<(), TaskError> {
    let down = services.down()?;
    for url in &down {
        eprintln!("{url} is down, its data are removed");
    }
    if down.is_empty() {
        eprintln!("nothing was up");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        order: Order,
    }

    #[test]
    fn kafka_comes_with_one_node_or_three() {
        let nodes = |typed| match Line::try_parse_from(["services", "up", "--kafka", typed]).ok()?.order {
            Order::Up { kafka, postgres: false } => kafka.map(|Size(nodes)| nodes),
            _ => None,
        };
        assert_eq!(nodes("1"), Some(Nodes::One));
        assert_eq!(nodes("3"), Some(Nodes::Three));
        assert_eq!(nodes("2"), None);
    }

    #[test]
    fn something_must_be_asked_for() {
        let parsed = |more: &[&str]| Line::try_parse_from([&["services", "up"], more].concat());
        assert!(parsed(&[]).is_err());
        let postgres =
            |more: &[&str]| matches!(parsed(more).unwrap().order, Order::Up { postgres: true, .. });
        assert!(postgres(&["--postgres"]) && postgres(&["--kafka", "1", "--postgres"]));
    }
}
