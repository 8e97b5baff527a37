//! Following a journal by reading, without I/O: what of the records that were read is new, and whether the journal
//! is still the one that was read before.
//!
//! Before anything new is taken, the last claim and the last record that are known must be there again. So a journal that
//! was cut, or made anew, is noticed and never followed. The last record alone does not do: an owner whose records were
//! cut away, its claim among them, may have appended after that, at the very offset that it expected, and would find
//! its own record there. (Where its claim is left, the brokers refuse what it appends after a cut.)
//!
//! Invariant: what [`Following::take`] gives back goes on exactly where the known records end, without a gap, and
//! the last claim and the record before it were found in the journal since reading began.

use annals_core::envelope::Header;
use annals_core::{Epoch, Offset};
use bytes::Bytes;

use crate::planted::{Planted, PlantedBug};

/// How many offsets may hold nothing between two records before something is wrong.
const GAP_MAX: u64 = 10_000;
/// How often in a row a sign must be seen that the journal was cut, where there may be another reason for it.
const CUT_CONFIRMED: u32 = 4;

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it is in the journal.
    pub offset: Offset,
    /// What stands outside the envelope.
    pub header: Header,
    /// The envelope.
    pub envelope: Bytes,
}

/// What follows from records that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The new ones, one for each offset: where there is nothing, an empty foreign record.
    pub new: Vec<Fetched>,
    /// Where to read on, when not behind what was read.
    pub read_from: Option<Offset>,
}

/// What keeps records that were read from being taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble<E> {
    /// The journal is not what it was, for this reason.
    Cut(String),
    /// A known record could not be looked up.
    Lookup(E),
}

/// Whether and how a journal is followed.
#[derive(Clone, Debug, Default)]
pub struct Following {
    follows: Follows,
    /// How often in a row the journal was said to end below what is known.
    cut_seen: u32,
    /// How often in a row records were read, but not yet the last one that is known. Once or twice they may have been
    /// under way from when the journal was read before.
    strays: u32,
    planted: Planted,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Follows {
    #[default]
    No,
    /// These, the last that are known, must be the journal's: first the claim, if there is one, then the record.
    Unverified { claim: Option<Offset>, last: Offset },
    /// What was read last is at this offset.
    Yes(Offset),
}

impl Following {
    /// Plants a bug.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: Option<PlantedBug>) {
        self.planted = Planted::with(bug);
    }

    /// Whether the journal is read.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.follows != Follows::No
    }

    /// Whether the journal was found to be the one that was read before, since reading began.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        matches!(self.follows, Follows::Yes(_))
    }

    /// Reading begins, or begins anew, where records below `next` are known and `stored` looks them up, the last claim
    /// among them being that of `epoch`; returns the offset to read from.
    ///
    /// The last record that counts is one of Annals: of those, no two are the same. A replica that lost its end may also
    /// end with an offset at which the journal holds nothing.
    pub fn begin(
        &mut self,
        next: Offset,
        epoch: Option<Epoch>,
        stored: impl Fn(Offset) -> Option<(Header, Bytes)>,
    ) -> Offset {
        let foreign = |at: &Offset| matches!(stored(*at), Some((Header::Foreign, _)));
        let last = (0..next.0).rev().map(Offset).find(|at| !foreign(at)).unwrap_or_default();
        let claim = epoch.map(|epoch| Offset(epoch.0)).filter(|claim| *claim < last);
        self.follows = Follows::Unverified { claim, last };
        claim.unwrap_or(last)
    }

    /// Nothing is read any more.
    pub fn stop(&mut self) {
        self.follows = Follows::No;
    }

    /// Takes records that were read, in order, where those below `next` are known and `stored` looks them up. Behind
    /// them the journal ended at `end`, if that is known: offsets before it at which nothing was read hold nothing.
    pub fn take<E>(
        &mut self,
        next: Offset,
        fetched: Vec<Fetched>,
        end: Option<Offset>,
        stored: impl Fn(Offset) -> Result<Option<(Header, Bytes)>, E>,
    ) -> Result<Taken, Trouble<E>> {
        if self.follows == Follows::No {
            return Ok(Taken::default());
        }
        let before = self.follows;
        let (mut new, mut strayed) = (Vec::new(), false);
        for record in fetched {
            self.pass(record.offset, next, &stored)?;
            if record.offset < next {
                self.compare(record, &stored)?;
            } else if self.is_verified() {
                new.push(record);
            } else {
                strayed = true;
            }
        }
        self.strays = if self.is_verified() { 0 } else { self.strays + u32::from(strayed) };
        if self.strays == CUT_CONFIRMED {
            return Err(Trouble::Cut(format!("the record before offset {next} is not there any more")));
        }
        let read_from = match self.follows {
            Follows::Unverified { claim: None, last } if self.follows != before => Some(last),
            _ => None,
        };
        let end = end.filter(|_| self.is_verified() && read_from.is_none());
        Ok(Taken { new: without_gaps(next, new, end).map_err(Trouble::Cut)?, read_from })
    }

    /// Where reading passes over known offsets, up to `offset`, there must not have been records of Annals: an owner may
    /// have learned of its own by reports, while they were cut away before they were read.
    fn pass<E>(
        &mut self,
        offset: Offset,
        next: Offset,
        stored: impl Fn(Offset) -> Result<Option<(Header, Bytes)>, E>,
    ) -> Result<(), Trouble<E>> {
        let Follows::Yes(read) = self.follows else { return Ok(()) };
        for passed in (read.next().0..offset.min(next).0).map(Offset) {
            if !matches!(stored(passed).map_err(Trouble::Lookup)?, Some((Header::Foreign, _))) {
                return Err(Trouble::Cut(format!("the record at offset {passed} is not there any more")));
            }
        }
        self.follows = Follows::Yes(offset);
        Ok(())
    }

    /// A record that is known must be the one that is read again.
    fn compare<E>(
        &mut self,
        known: Fetched,
        stored: impl Fn(Offset) -> Result<Option<(Header, Bytes)>, E>,
    ) -> Result<(), Trouble<E>> {
        let same = stored(known.offset).map_err(Trouble::Lookup)? == Some((known.header, known.envelope));
        if !same && !self.planted.is(PlantedBug::FollowUnverified) {
            return Err(Trouble::Cut(format!("another record than before is at offset {}", known.offset)));
        }
        match self.follows {
            Follows::Unverified { claim: Some(claim), last } if known.offset == claim => {
                self.follows = Follows::Unverified { claim: None, last };
            }
            Follows::Unverified { claim: None, last } if known.offset == last => {
                self.follows = Follows::Yes(last);
            }
            _ => {}
        }
        Ok(())
    }

    /// The brokers say that the journal reaches from `low` to `high`; records below `known` were known *before they
    /// were asked*, since an owner knows more by the time that it hears the answer. An error says that the journal
    /// was cut. They must say so a few times: a broker may not know better for a moment.
    pub fn ends(&mut self, known: Offset, low: Offset, high: Offset) -> Result<(), String> {
        self.cut_seen = if high < known || low > known { self.cut_seen + 1 } else { 0 };
        if self.cut_seen < CUT_CONFIRMED {
            return Ok(());
        }
        Err(format!(
            "it holds offsets {low} to {high}, but records up to {known} were known: it was cut or made anew"
        ))
    }
}

fn without_gaps(first: Offset, fetched: Vec<Fetched>, end: Option<Offset>) -> Result<Vec<Fetched>, String> {
    let mut whole: Vec<Fetched> = Vec::new();
    let mut next = first;
    for record in fetched {
        if let Some(ahead) = next.0.checked_sub(record.offset.0).filter(|ahead| *ahead > 0) {
            // Read twice, where reading began anew.
            let before = usize::try_from(ahead).ok().and_then(|ahead| whole.len().checked_sub(ahead));
            if before.and_then(|at| whole.get(at)) != Some(&record) {
                return Err(format!("another record than before is at offset {}", record.offset));
            }
            continue;
        }
        fill(&mut whole, &mut next, record.offset)?;
        next = record.offset.next();
        whole.push(record);
    }
    if let Some(end) = end {
        fill(&mut whole, &mut next, end)?;
    }
    Ok(whole)
}

/// Nothing is there from `next` to `upto`.
fn fill(whole: &mut Vec<Fetched>, next: &mut Offset, upto: Offset) -> Result<(), String> {
    if upto.0.saturating_sub(next.0) > GAP_MAX {
        return Err(format!("nothing is there from offset {next} to {upto}"));
    }
    while *next < upto {
        whole.push(Fetched { offset: *next, header: Header::Foreign, envelope: Bytes::new() });
        *next = next.next();
    }
    Ok(())
}
