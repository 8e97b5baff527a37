//! Data sets, and what a bank holds after them, computed from the files alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tempfile::TempDir;

/// Two files.
pub(crate) struct Data {
    pub(crate) nodes: PathBuf,
    pub(crate) transfers: PathBuf,
    _directory: Option<TempDir>,
}

/// What the files come to.
pub(crate) struct Expected {
    pub(crate) balances: BTreeMap<String, i64>,
    pub(crate) completed: u64,
    pub(crate) refused: u64,
}

const NODES_HEADER: &str = "nodeid,isFraud,init_balance,fraudStep\n";
const TRANSFERS_HEADER: &str = "sourceNodeId,targetNodeId,value,time\n";

impl Data {
    /// Files of these rows.
    pub(crate) fn of(nodes: &str, transfers: &str) -> Self {
        Self::raw(&format!("{NODES_HEADER}{nodes}"), &format!("{TRANSFERS_HEADER}{transfers}"))
    }

    /// Files of this text.
    pub(crate) fn raw(nodes: &str, transfers: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            let mut encoder = GzEncoder::new(File::create(&path).unwrap(), Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap();
            path
        };
        let (nodes, transfers) = (write("nodes.csv.gz", nodes), write("transactions.csv.gz", transfers));
        Self { nodes, transfers, _directory: Some(directory) }
    }

    /// Files that are there already.
    pub(crate) fn at(nodes: PathBuf, transfers: PathBuf) -> Self {
        Self { nodes, transfers, _directory: None }
    }

    /// A small bank made from a seed: poor accounts, a few of them busy, with equal rows one after the other,
    /// transfers back and forth, and to oneself.
    pub(crate) fn made(seed: u64, accounts: u64, transfers: u64) -> Self {
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let mut roll = |sides: u64| dice.next_u64() % sides;
        let nodes: String =
            (0..accounts).map(|id| format!("{id},0,{}.{:02},-1\n", roll(300), roll(100))).collect();
        let mut rows = Vec::new();
        while rows.len() < transfers as usize {
            let receivers = if roll(3) == 0 { 3 } else { accounts };
            let (from, to) = (roll(accounts), roll(receivers));
            let amount = format!("{}.{}", 1 + roll(100), roll(10));
            let day = rows.len() / 50;
            rows.push(format!("{from},{to},{amount},{day}\n"));
            match roll(20) {
                0 => rows.push(format!("{from},{to},{amount},{day}\n")),
                1 => rows.push(format!("{to},{from},{amount},{day}\n")),
                2 => rows.push(format!("{from},{from},{amount},{day}\n")),
                _ => {}
            }
        }
        Self::of(&nodes, &rows[..transfers as usize].concat())
    }

    /// The published sample; `None`, said aloud, where this machine does not have it.
    pub(crate) fn sample() -> Option<Self> {
        let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
        let folder = std::env::var_os("ANNALS_DATA").map_or(default, PathBuf::from).join("bank");
        let (nodes, transfers) = (folder.join("nodes.csv.gz"), folder.join("transactions.csv.gz"));
        if nodes.exists() && transfers.exists() {
            return Some(Self::at(nodes, transfers));
        }
        let what = format!("there is no data set in {}; set ANNALS_DATA", folder.display());
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what}");
        println!("skipped: {what}");
        None
    }

    /// The first transfers of this data set, and the accounts they name.
    pub(crate) fn head(&self, transfers: usize) -> Self {
        let rows = fields(&self.transfers);
        let rows = &rows[..transfers];
        let named = |id: &String| rows.iter().any(|row| row[0] == *id || row[1] == *id);
        let line = |row: &Vec<String>| format!("{}\n", row.join(","));
        let nodes: String = fields(&self.nodes).iter().filter(|row| named(&row[0])).map(line).collect();
        Self::of(&nodes, &rows.iter().map(line).collect::<String>())
    }

    /// What the bank holds when every transfer but those to oneself goes through.
    pub(crate) fn all_through(&self) -> Expected {
        self.fold(|_, _| true)
    }

    /// What it holds when one transfer follows the other and none may overdraw.
    pub(crate) fn one_by_one(&self) -> Expected {
        self.fold(|balance, amount| balance >= amount)
    }

    fn fold(&self, may: impl Fn(i64, i64) -> bool) -> Expected {
        let mut balances: BTreeMap<String, i64> =
            fields(&self.nodes).iter().map(|row| (row[0].clone(), cents(&row[2]))).collect();
        let (mut completed, mut refused) = (0, 0);
        for row in fields(&self.transfers) {
            let amount = cents(&row[2]);
            if row[0] == row[1] || !may(balances[&row[0]], amount) {
                refused += 1;
                continue;
            }
            *balances.get_mut(&row[0]).unwrap() -= amount;
            *balances.get_mut(&row[1]).unwrap() += amount;
            completed += 1;
        }
        Expected { balances, completed, refused }
    }
}

fn fields(path: &Path) -> Vec<Vec<String>> {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

fn cents(text: &str) -> i64 {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    major.parse::<i64>().unwrap() * 100 + format!("{minor:0<2}").parse::<i64>().unwrap()
}
