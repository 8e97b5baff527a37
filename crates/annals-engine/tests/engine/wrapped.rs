//! A memory log with something in the way of its writers.

use annals_core::index::Term;
use annals_core::{Epoch, Seq};
use annals_log::{AppendError, Chunk, ClaimError, Claimant, ReadError, RecordKind, Writer};
use bytes::Bytes;

use super::*;

/// What is in the way.
pub(crate) trait InTheWay: Send + Sync + 'static {
    /// Asked before each append.
    fn append(&self, _shard: ShardId) -> Result<(), AppendError> {
        Ok(())
    }

    /// Commits, sooner or later.
    fn commit(&self, writer: &dyn Writer, seq: Seq) -> Result<Offset, AppendError> {
        writer.commit(seq)
    }
}

pub(crate) struct Wrapped<W> {
    pub(crate) log: MemoryLog,
    pub(crate) way: Arc<W>,
}

struct WrappedWriter<W> {
    shard: ShardId,
    writer: Arc<dyn Writer>,
    way: Arc<W>,
}

impl<W: InTheWay> Log for Wrapped<W> {
    fn identity(&self) -> &Identity {
        self.log.identity()
    }
    fn claim(&self, shard: ShardId, claimant: &Claimant) -> Result<Arc<dyn Writer>, ClaimError> {
        let writer = self.log.claim(shard, claimant)?;
        Ok(Arc::new(WrappedWriter { shard, writer, way: Arc::clone(&self.way) }))
    }
    fn end(&self, shard: ShardId) -> Offset {
        self.log.end(shard)
    }
    fn read(&self, shard: ShardId, from: Offset, bytes_max: usize) -> Result<Chunk, ReadError> {
        self.log.read(shard, from, bytes_max)
    }
    fn find(&self, shard: ShardId, term: Term, from: Offset, limit: usize) -> Result<Vec<Offset>, ReadError> {
        self.log.find(shard, term, from, limit)
    }
    fn find_last(&self, shard: ShardId, term: Term) -> Result<Option<Offset>, ReadError> {
        self.log.find_last(shard, term)
    }
    fn wait(&self, shard: ShardId, beyond: Offset, timeout: Duration) -> Offset {
        self.log.wait(shard, beyond, timeout)
    }
}

impl<W: InTheWay> Writer for WrappedWriter<W> {
    fn epoch(&self) -> Epoch {
        self.writer.epoch()
    }
    fn append(&self, kind: RecordKind, envelope: Bytes, terms: Vec<Term>) -> Result<Seq, AppendError> {
        self.way.append(self.shard)?;
        self.writer.append(kind, envelope, terms)
    }
    fn commit(&self, seq: Seq) -> Result<Offset, AppendError> {
        self.way.commit(self.writer.as_ref(), seq)
    }
    fn committed(&self) -> Seq {
        self.writer.committed()
    }
    fn is_in_force(&self) -> bool {
        self.writer.is_in_force()
    }
}

/// One shard takes no records.
pub(crate) struct Deaf(pub(crate) ShardId);

impl InTheWay for Deaf {
    fn append(&self, shard: ShardId) -> Result<(), AppendError> {
        if shard == self.0 {
            Err(AppendError::Full { reason: "the shard is deaf".to_owned() })
        } else {
            Ok(())
        }
    }
}

/// An engine on the world's log, of which `shard` takes no records.
pub(crate) fn open_deaf(world: &World, shard: ShardId) -> Engine {
    let log = Wrapped { log: world.log.clone(), way: Arc::new(Deaf(shard)) };
    let environment = Environment::seeded(Arc::clone(&world.clock) as _, 77);
    Engine::open(context(), Arc::new(log), environment, world.settings.clone()).unwrap()
}

/// An account in `shard` of two.
pub(crate) fn account_in(shard: ShardId) -> String {
    let in_it = |name: &String| context().shard_of(&stream(name), 2) == Some(shard);
    (0..).map(|n| format!("x{n}")).find(in_it).unwrap()
}

/// The shard of the saga `run/r` among two, and the other.
pub(crate) fn shard_of_saga() -> (ShardId, ShardId) {
    let shard = context().shard_of(&stream("run/r"), 2).unwrap();
    (shard, ShardId(1 - shard.0))
}
