//! What clients and chaos know together: which nodes listen, which one is asked first, who owns which shard, and
//! what is on its way to whom.
//!
//! Who owns a shard is told by receipts alone: the node that gave the receipt with the highest offset of the shard, as
//! long as that is recent. A shard has work in flight at a node while a request for one of its accounts is
//! unanswered there. So a case is counted only where both are seen from outside.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

/// How old the receipt may be that tells who owns a shard.
const OWNED_MAX: Duration = Duration::from_secs(2);

/// Shared by all.
pub struct Board(Mutex<Inner>);

struct Inner {
    addresses: Vec<Option<String>>,
    favourite: usize,
    /// Whether clients begin new commands.
    open: bool,
    given_up: bool,
    owners: BTreeMap<u64, Owner>,
    /// The shard of each account, as receipts tell.
    shards: HashMap<String, u64>,
    /// By node and shard.
    in_flight: BTreeMap<(usize, u64), usize>,
    acknowledged: u64,
}

struct Owner {
    node: usize,
    offset: u64,
    told: Instant,
}

impl Board {
    pub fn new(nodes: usize) -> Self {
        Self(Mutex::new(Inner {
            addresses: vec![None; nodes],
            favourite: 0,
            open: true,
            given_up: false,
            owners: BTreeMap::new(),
            shards: HashMap::new(),
            in_flight: BTreeMap::new(),
            acknowledged: 0,
        }))
    }

    /// The node listens there now, or not at all.
    pub fn listens(&self, node: usize, address: Option<String>) {
        self.0.lock().addresses[node] = address;
    }

    /// Clients ask this node first from now on.
    pub fn prefer(&self, node: usize) {
        self.0.lock().favourite = node;
    }

    pub fn favourite(&self) -> usize {
        self.0.lock().favourite
    }

    /// The node to ask: the favourite, or, where `other` is a number, one of those that listen.
    pub fn choose(&self, other: Option<u64>) -> Option<(usize, String)> {
        let inner = self.0.lock();
        let address = |node: usize| inner.addresses[node].clone().map(|address| (node, address));
        match other {
            None => address(inner.favourite),
            Some(number) => {
                let listening: Vec<_> = (0..inner.addresses.len()).filter_map(address).collect();
                let index = number as usize % listening.len().max(1);
                listening.into_iter().nth(index)
            }
        }
    }

    /// Where the node listens.
    pub fn address(&self, node: usize) -> Option<String> {
        self.0.lock().addresses[node].clone()
    }

    /// No client begins a new command from now on.
    pub fn close(&self) {
        self.0.lock().open = false;
    }

    /// It has failed: clients stop where they are.
    pub fn give_up(&self) {
        let mut inner = self.0.lock();
        (inner.open, inner.given_up) = (false, true);
    }

    pub fn is_given_up(&self) -> bool {
        self.0.lock().given_up
    }

    pub fn is_open(&self) -> bool {
        self.0.lock().open
    }

    /// A request for `account` is on its way to `node`.
    pub fn sent(&self, node: usize, account: &str) -> Option<u64> {
        let mut inner = self.0.lock();
        let shard = inner.shards.get(account).copied()?;
        *inner.in_flight.entry((node, shard)).or_default() += 1;
        Some(shard)
    }

    /// It was answered, or given up.
    pub fn ended(&self, node: usize, shard: Option<u64>) {
        let mut inner = self.0.lock();
        if let Some(count) = shard.and_then(|shard| inner.in_flight.get_mut(&(node, shard))) {
            *count -= 1;
        }
    }

    /// `node` gave this receipt for a command that it did not know before.
    pub fn acknowledged(&self, node: usize, account: &str, receipt: &Value) {
        let position = receipt["position"].as_str().unwrap_or_default();
        let numbers: Option<Vec<u64>> = position.split('-').map(|number| number.parse().ok()).collect();
        let Some(&[shard, offset, _]) = numbers.as_deref() else { return };
        let mut inner = self.0.lock();
        inner.acknowledged += 1;
        inner.shards.insert(account.to_owned(), shard);
        if inner.owners.get(&shard).is_none_or(|owner| owner.offset < offset) {
            inner.owners.insert(shard, Owner { node, offset, told: Instant::now() });
        }
    }

    /// How many commands have been acknowledged.
    pub fn count(&self) -> u64 {
        self.0.lock().acknowledged
    }

    /// How many shards `node` owns that have work in flight at it.
    pub fn busy(&self, node: usize) -> u64 {
        let inner = self.0.lock();
        let owned = |owner: &Owner| owner.node == node && owner.told.elapsed() < OWNED_MAX;
        let works = |shard: u64| inner.in_flight.get(&(node, shard)).is_some_and(|count| *count > 0);
        inner.owners.iter().filter(|(shard, owner)| owned(owner) && works(**shard)).count() as u64
    }
}
