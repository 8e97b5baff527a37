//! Who wrote what lies in a target: told by its claims, from the end to the genesis.
//!
//! A copy claims as `copy of <log id> by <host and process>`. Every accepted record carries the epoch of the
//! claim it was written under, so one record tells of all between that claim and itself. Claims that wrote no
//! record, such as those of an application that opened the target and did nothing, do no harm.

use annals_core::envelope::{Claim, Header};
use annals_core::{Epoch, LogId, Offset, ShardId};

use super::{CopyError, Job, is_copied, search};
use crate::port::Claimant;

/// How the node of a copy's claim begins.
const COPY_OF: &str = "copy of ";
/// What stands between the source's log id and who made the copy.
const BY: &str = " by ";
/// The most that one read brings.
const READ_BYTES: usize = 64 * 1024;

/// The claimant as a copy of `source` claims.
pub(super) fn claimant(source: LogId, claimant: Claimant) -> Claimant {
    Claimant { node: format!("{COPY_OF}{source}{BY}{}", claimant.node), ..claimant }
}

/// The log whose copy the owner of such a claim wrote.
fn source_of(node: &str) -> Option<LogId> {
    let (id, _) = node.strip_prefix(COPY_OF)?.split_once(BY)?;
    id.parse().ok().map(LogId)
}

/// Checks that every record in `shard` of the target was written by a copy of the source; returns how many there
/// are.
pub(super) fn check(job: &Job<'_>, shard: ShardId) -> Result<u64, CopyError> {
    let mut records = 0;
    let mut end = job.target.end(shard);
    while let Some(last) = search::last_below(job.target, shard, end).map_err(CopyError::Target)? {
        end = match last.header {
            Header::Record { epoch, seq } => {
                check_epoch(job, shard, epoch, last.offset)?;
                // Under its own claim a copy appends nothing but records, numbered from 0 without a gap.
                records += seq.0 + 1;
                Offset(epoch.0)
            }
            Header::Progress { epoch, .. } => {
                check_epoch(job, shard, epoch, last.offset)?;
                Offset(epoch.0)
            }
            _ => last.offset,
        };
    }
    Ok(records)
}

/// Checks that the records written under the claim at `epoch`, up to `last`, are a copy of the source, or none.
fn check_epoch(job: &Job<'_>, shard: ShardId, epoch: Epoch, last: Offset) -> Result<(), CopyError> {
    let claim = job.target.get(shard, Offset(epoch.0)).map_err(CopyError::Target)?;
    let node = match claim.map(|raw| Claim::from_bytes(raw.envelope)) {
        Some(Ok(claim)) => claim.node,
        Some(Err(reason)) => {
            return Err(CopyError::Unreadable { log: "the target", shard, offset: Offset(epoch.0), reason });
        }
        None => String::new(),
    };
    let found = source_of(&node);
    if found == Some(job.source_id()) {
        return Ok(());
    }
    let Some(offset) = first_record(job, shard, Offset(epoch.0), last)? else { return Ok(()) };
    Err(match found {
        Some(found) => CopyError::OtherSource { shard, offset, found, wanted: job.source_id() },
        None => CopyError::Foreign { shard, offset, node },
    })
}

/// The first record from `from` to `last` that a copy could have written.
fn first_record(
    job: &Job<'_>,
    shard: ShardId,
    from: Offset,
    last: Offset,
) -> Result<Option<Offset>, CopyError> {
    let mut next = from;
    while next <= last {
        let chunk = job.target.read(shard, next, READ_BYTES).map_err(CopyError::Target)?;
        let record = chunk.records.iter().find(|raw| raw.offset <= last && is_copied(raw));
        if let Some(record) = record {
            return Ok(Some(record.offset));
        }
        if chunk.next <= next {
            break;
        }
        next = chunk.next;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use annals_core::Timestamp;

    use super::*;

    #[test]
    fn a_copys_claim_names_its_source() {
        let id = LogId(uuid::Uuid::from_u128(7));
        let by = |node: &str| Claimant {
            node: node.to_owned(),
            address: String::new(),
            nonce: [0; 16],
            claimed_at: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(source_of(&claimant(id, by("host/1")).node), Some(id));
        assert_eq!(source_of(&claimant(id, by("copy of x by y")).node), Some(id));
        for node in ["host/1", "", "copy of ", "copy of host by me", &format!("copy of {id}")] {
            assert_eq!(source_of(node), None, "{node}");
        }
    }
}
