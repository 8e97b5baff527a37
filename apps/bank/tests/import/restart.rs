//! An import that was broken off goes on, and a log that fails for a while delays it only.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use annals::parts::log::faults::FaultPlan;
use annals::parts::log::{Identity, MemoryLog};
use annals::{App, LogId, Options};
use tempfile::TempDir;

use crate::data::Data;
use crate::{Heard, check, import, import_heard, open, url};

#[test]
fn what_was_broken_off_goes_on_without_doubling() {
    let data = Data::made(11, 80, 2_000);
    for (flags, expected) in [(["--overdraft"], data.all_through()), (["--ordered"], data.one_by_one())] {
        let directory = TempDir::new().unwrap();
        for panics_at in [1, 500, 1_200] {
            let app = open(&url(directory.path()));
            let heard = Heard { panics_at: Some(panics_at), ..Heard::default() };
            let run = catch_unwind(AssertUnwindSafe(|| import_heard(&app, &data, &flags, &heard)));
            assert!(run.is_err(), "it was broken off");
            drop(app);
        }
        let app = open(&url(directory.path()));
        let report = import(&app, &data, &flags).unwrap();
        check(&app, &report, &expected);

        let end = app.engine().log().end(annals::ShardId(0));
        let again = import(&app, &data, &flags).unwrap();
        check(&app, &again, &expected);
        assert_eq!(app.engine().log().end(annals::ShardId(0)), end, "a second start writes nothing");
        assert_eq!(again.0["rate_per_s"].as_f64(), Some(0.0));
    }
}

#[test]
fn what_fails_for_a_while_is_sent_again() {
    let data = Data::made(12, 40, 600);
    for (flags, expected) in [(["--overdraft"], data.all_through()), (["--ordered"], data.one_by_one())] {
        for seed in 0..3 {
            let identity = Identity {
                log_id: LogId(uuid::Uuid::from_u128(seed.into())),
                context: "bank".to_owned(),
                shards: 2,
                created_at: annals::Timestamp::default(),
            };
            let log = Arc::new(MemoryLog::new(identity));
            let app =
                App::open_on(annals_bank::bank().core().clone(), log.clone(), Options::default()).unwrap();
            log.set_faults(FaultPlan::every(seed, 0.004));
            let report = import(&app, &data, &flags).unwrap();
            log.set_faults(FaultPlan::none());
            assert!(log.struck().values().sum::<u64>() > 0, "seed {seed}: nothing failed");
            check(&app, &report, &expected);
        }
    }
}
