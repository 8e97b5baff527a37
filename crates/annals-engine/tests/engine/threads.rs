//! Real threads: commands from many at once, relays on their own threads.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use annals_core::Seq;
use annals_core::envelope::Header;
use annals_log::{AppendError, Writer};

use super::model::{Do, Plan};
use super::wrapped::{InTheWay, Wrapped};
use super::*;

const THREADS: u64 = 64;
const COMMANDS: u64 = 200;
const STREAMS: u64 = 50;

/// Commits take time, as a disk's do: one caller syncs, the others wait for it.
#[derive(Default)]
struct Slow {
    /// How many syncs there were, and whether one is under way.
    state: Mutex<(u64, bool)>,
    done: Condvar,
}

impl InTheWay for Slow {
    fn commit(&self, writer: &dyn Writer, seq: Seq) -> Result<Offset, AppendError> {
        let mut state = self.state.lock().unwrap();
        while state.1 && seq >= writer.committed() {
            state = self.done.wait(state).unwrap();
        }
        if seq >= writer.committed() {
            *state = (state.0 + 1, true);
            drop(state);
            std::thread::sleep(Duration::from_micros(500));
            drop(writer.commit(seq));
            self.state.lock().unwrap().1 = false;
            self.done.notify_all();
        }
        writer.commit(seq)
    }
}

#[test]
fn many_threads_share_streams_and_groups() {
    let world = World::new();
    let slow = Arc::new(Slow::default());
    let log = Wrapped { log: world.log.clone(), way: Arc::clone(&slow) };
    let environment = Environment::seeded(Arc::clone(&world.clock) as _, 1);
    let engine = Engine::open(context(), Arc::new(log), environment, Settings::default()).unwrap();
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (engine, answers) = (engine.clone(), &answers);
            scope.spawn(move || {
                let mut mine = Vec::new();
                for n in 0..COMMANDS {
                    // Two threads send the same command under the same key.
                    let (pair, name) = (thread / 2, format!("s{}", (thread / 2 * 7 + n) % STREAMS));
                    mine.push((
                        name.clone(),
                        engine.execute(&keyed(&name, add(1), &format!("{pair}.{n}"))).unwrap(),
                    ));
                }
                answers.lock().unwrap().extend(mine);
            });
        }
    });
    world.check();
    let records = world.records();
    assert_eq!(records.len() as u64, THREADS / 2 * COMMANDS, "each key had one effect");
    let answers = answers.into_inner().unwrap();
    assert_eq!(answers.len() as u64, THREADS * COMMANDS);
    // Both of a pair got the same answer, one of them as a repeat; and it is where the receipt says.
    let first: HashSet<_> =
        answers.iter().filter(|(_, r)| !r.repeated).map(|(n, r)| (n, r.version, r.position)).collect();
    let again: HashSet<_> =
        answers.iter().filter(|(_, r)| r.repeated).map(|(n, r)| (n, r.version, r.position)).collect();
    assert_eq!(first.len() as u64, THREADS / 2 * COMMANDS);
    assert!(first == again);
    for (name, receipt) in answers.iter().step_by(97) {
        let raw = world.log.get(ShardId(0), receipt.position.offset).unwrap().unwrap();
        assert!(matches!(raw.header, Header::Record { .. }));
        let record = Record::from_bytes(raw.envelope).unwrap();
        assert_eq!(record.slices[0].stream, format!("account/{name}"));
        assert_eq!(record.slices[0].next_version(), receipt.version);
    }
    let sum: u64 = (0..STREAMS).map(|n| total(&engine, &format!("s{n}")).1).sum();
    assert_eq!(sum, THREADS / 2 * COMMANDS);
    assert_eq!(engine.status().waiting_commands, 0);
    let (syncs, _) = *slow.state.lock().unwrap();
    assert!(syncs < THREADS / 2 * COMMANDS / 8, "{syncs} syncs for {} records: not shared", records.len());
}

#[test]
fn threads_on_a_log_that_fails_agree_with_it() {
    let world = World::with_shards(2);
    let engine = world.open();
    world.log.set_faults(FaultPlan::every(5, 0.01));
    let answers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (engine, answers) = (engine.clone(), &answers);
            scope.spawn(move || {
                for n in 0..100 {
                    let (name, key) = (format!("s{}", (thread + n) % 7), format!("{thread}.{n}"));
                    match engine.execute(&keyed(&name, add(1), &key)) {
                        Ok(receipt) => answers.lock().unwrap().push((key, receipt.version)),
                        Err(error) => assert!(error.is_temporary(), "{error}"),
                    }
                }
            });
        }
    });
    world.check();
    assert!(world.log.struck().values().sum::<u64>() > 10, "{:?}", world.log.struck());
    let stored: std::collections::HashMap<String, u64> = world
        .records()
        .into_iter()
        .map(|record| (record.command.unwrap().key, record.slices[0].next_version()))
        .collect();
    let answers = answers.into_inner().unwrap();
    assert!(answers.len() > 800, "only {} of 1600 were answered", answers.len());
    for (key, version) in answers {
        assert_eq!(stored.get(&key), Some(&version), "{key} was answered");
    }
}

#[test]
fn relays_work_on_their_own() {
    for shards in [1, 8] {
        let world = World::with_shards(shards);
        let engine = world.open();
        engine.start();
        engine.start();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let engine = engine.clone();
                scope.spawn(move || {
                    for n in 0..50 {
                        let run = format!("r{thread}.{n}");
                        let to = format!("b{}", (thread * 50 + n) % 13);
                        let plan = Plan::new(&run)
                            .on("begin", [Do::Add(to.clone(), 2)])
                            .on(&format!("accepted:add {to}"), [Do::Take(to, 1), Do::Finish]);
                        send(&engine, &format!("a{thread}"), Command::Begin { plan }).unwrap();
                    }
                });
            }
        });
        settle(&engine);
        let status = engine.status();
        assert_eq!((status.relay_lag, status.relay_pending, status.parked, status.stuck), (0, 0, 0, None));
        let sum: u64 = (0..13).map(|n| total(&engine, &format!("b{n}")).1).sum();
        assert_eq!(sum, 200);
        engine.stop().unwrap();
        // Stopped means stopped.
        let end = world.log.end(ShardId(0));
        send(&engine, "a0", add(1)).ok();
        std::thread::sleep(Duration::from_millis(30));
        assert!(world.log.end(ShardId(0)).0 <= end.0 + 1);
        world.check();
    }
}

#[test]
fn stopping_is_quick_and_leaves_nothing_in_flight() {
    let world = World::with_shards(4);
    let engine = world.open();
    engine.start();
    drop(engine.submit(&request("ann", add(1))).unwrap());
    let began = Instant::now();
    engine.stop().unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(world.records().len(), 1);
    world.check();
}
