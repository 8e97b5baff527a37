//! Made-up customers: the same ones from the same seed, and mostly asking for what they can have.

use std::collections::{BTreeMap, BTreeSet};

use annals_bank::account::{Account, Command};
use annals_bank::generator::{Generated, Generator};
use sha2::{Digest as _, Sha256};

use crate::random::ask;

fn first(seed: u64, accounts: u32, count: usize) -> Vec<Generated> {
    Generator::new(seed, accounts).take(count).collect()
}

#[test]
fn a_seed_gives_one_stream() {
    assert_eq!(first(7, 50, 5_000), first(7, 50, 5_000));
    assert_ne!(first(7, 50, 100), first(8, 50, 100));
    assert_ne!(first(7, 50, 100), first(7, 51, 100));
    let keys: BTreeSet<String> = first(7, 50, 5_000).into_iter().map(|generated| generated.key).collect();
    assert_eq!(keys.len(), 5_000);
}

/// The very stream: a change here changes every demonstration and load test that names a seed.
#[test]
fn a_stream_never_changes() {
    let line = |g: Generated| format!("{} {} {} {:?}", g.key, g.id, g.actor, g.command);
    let start: Vec<String> = Generator::new(1, 3).take(3).map(line).collect();
    let expected = [
        "0000000000000001-0 000001 clerk-2 Open { overdraft: 50000 }",
        "0000000000000001-1 000001 customer-000001 Deposit { amount: 308280 }",
        "0000000000000001-2 000000 clerk-1 Open { overdraft: 0 }",
    ];
    assert_eq!(start, expected);
    let mut hash = Sha256::new();
    Generator::new(1, 100).take(20_000).map(line).for_each(|line| hash.update(line));
    let digest: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "64e633a6e02a7b96");
}

#[test]
fn every_kind_of_command_comes_up_and_most_are_accepted() {
    let mut accounts: BTreeMap<String, (Account, u64)> = BTreeMap::new();
    let (mut kinds, mut accepted) = (BTreeSet::new(), 0);
    for Generated { id, command, .. } in first(42, 200, 20_000) {
        kinds.insert(format!("{command:?}").split(' ').next().unwrap_or_default().to_owned());
        let (account, version) = accounts.entry(id.clone()).or_default();
        if ask(account, version, &id, &command).is_ok() {
            accepted += 1;
            // A transfer arrives at once here, where its receiver takes it.
            if let Command::Send { to, amount, .. } = &command {
                let transfer = account.holds.keys().next_back().cloned().unwrap();
                let (receiver, at) = accounts.entry(to.clone()).or_default();
                let arrived = ask(receiver, at, to, &crate::credit(&transfer, &id, *amount));
                let settled = if arrived.is_ok() { crate::post(&transfer) } else { crate::void(&transfer) };
                let (account, version) = accounts.entry(id.clone()).or_default();
                ask(account, version, &id, &settled).unwrap();
            }
        }
    }
    let expected = ["Close", "Deposit", "Freeze", "Open", "Send", "Unfreeze", "Withdraw"];
    assert_eq!(kinds.iter().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert!((17_000..20_000).contains(&accepted), "{accepted} of 20000 accepted");
}

#[test]
fn few_accounts_are_enough() {
    for accounts in 0..4 {
        let ids: BTreeSet<String> = first(3, accounts, 2_000)
            .into_iter()
            .map(|generated| generated.id.split('.').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(ids.len(), accounts.max(2) as usize);
    }
}
