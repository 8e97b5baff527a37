//! The AMLSim reader, on rows made for the purpose and on the published sample.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::PathBuf;

use annals_bank::account::Command;
use annals_bank::amlsim::{self, AmlSimError, FieldProblem, Instruction};
use annals_bank::money::AmountError;
use flate2::Compression;
use flate2::write::GzEncoder;

const ACCOUNTS: &str = "nodeid,isFraud,init_balance,fraudStep\n";
const TRANSFERS: &str = "sourceNodeId,targetNodeId,value,time\n";

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn transfers(rows: &str) -> Vec<Result<amlsim::TransferRow, AmlSimError>> {
    amlsim::transfers("t.csv.gz", &gzip(&format!("{TRANSFERS}{rows}"))[..]).unwrap().collect()
}

#[test]
fn a_transfer_becomes_an_instruction() {
    let bytes = gzip(&format!("{TRANSFERS}216,14730,163.3,1\n322,5431,143.11,0\n"));
    let rows = amlsim::transfers("t.csv.gz", &bytes[..]).unwrap();
    let digest = rows.digest().to_owned();
    assert!(digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
    let found: Vec<Instruction> = rows.map(|row| row.unwrap().instruction()).collect();
    let instruction = |row: u64, from: &str, to: &str, amount, at: &str| Instruction {
        key: format!("{digest}-{row}"),
        account: from.to_owned(),
        command: Command::Send { to: to.to_owned(), amount, reference: Some(format!("{digest}-{row}")) },
        at: at.parse().unwrap(),
    };
    let expected = [
        instruction(1, "216", "14730", 16330, "2020-01-02T00:00:00Z"),
        instruction(2, "322", "5431", 14311, "2020-01-01T00:00:00Z"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_account_is_opened_with_what_it_holds() {
    let rows = amlsim::accounts("a.csv.gz", &gzip(&format!("{ACCOUNTS}7,1,184.44,20\n8,0,0.00,-1\n"))[..]);
    let rows: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
    assert_eq!((rows[0].is_fraud, rows[1].is_fraud), (true, false));
    let asked = |row: &amlsim::AccountRow| -> Vec<(String, Command)> {
        let instructions = row.instructions(500).into_iter();
        instructions.map(|i| (i.key.replace(&row.key, "K") + " " + &i.account, i.command)).collect()
    };
    let open = |id: &str| (format!("K {id}"), Command::Open { overdraft: 500 });
    let deposit = ("K-deposit 7".to_owned(), Command::Deposit { amount: 18444 });
    assert_eq!(asked(&rows[0]), [open("7"), deposit]);
    assert_eq!(asked(&rows[1]), [open("8")]);
    assert_eq!(rows[0].at.to_string(), "2020-01-01T00:00:00Z");
}

#[test]
fn columns_may_stand_in_any_order() {
    let bytes = gzip("time,value,note,targetNodeId,sourceNodeId\n1,5,hello,2,3\n");
    let row = amlsim::transfers("t.csv.gz", &bytes[..]).unwrap().next().unwrap().unwrap();
    assert_eq!((row.from.as_str(), row.to.as_str(), row.amount), ("3", "2", 500));
}

#[test]
fn a_bad_field_is_named_and_the_next_row_is_read() {
    for (row, column, problem) in [
        ("x,2,5,1", "sourceNodeId", FieldProblem::Account),
        ("1,,5,1", "targetNodeId", FieldProblem::Account),
        ("1,-2,5,1", "targetNodeId", FieldProblem::Account),
        ("1,123456789012345678901,5,1", "targetNodeId", FieldProblem::Account),
        ("1,2,5.001,1", "value", FieldProblem::Amount(AmountError::TooFine)),
        ("1,2,-5,1", "value", FieldProblem::Amount(AmountError::NotDigits)),
        ("1,2,10000000000.01,1", "value", FieldProblem::Amount(AmountError::TooLarge)),
        ("1,2,5,1.5", "time", FieldProblem::Day),
        ("1,2,5,+1", "time", FieldProblem::Day),
        ("1,2,5,", "time", FieldProblem::Day),
        ("1,2,5,99999999", "time", FieldProblem::Day),
        ("1,2,5,9223372036854775807", "time", FieldProblem::Day),
    ] {
        let rows = transfers(&format!("1,2,3,4\n{row}\n5,6,7,8\n"));
        assert_eq!((rows.len(), rows[0].is_ok(), rows[2].is_ok()), (3, true, true), "{row}");
        let Err(error @ AmlSimError::Field { .. }) = &rows[1] else { panic!("{row}: {:?}", rows[1]) };
        let text = error.to_string();
        let begin = format!("t.csv.gz, row 2, column {column}: ");
        assert!(text.starts_with(&begin) && text.ends_with(&problem.to_string()), "{text}");
    }
    let longest = "9".repeat(20);
    assert!(transfers(&format!("{longest},1,5,1\n"))[0].is_ok());
    let bad = amlsim::accounts("a.csv.gz", &gzip(&format!("{ACCOUNTS}7,2,1.00,-1\n"))[..]).unwrap().next();
    let text = bad.unwrap().unwrap_err().to_string();
    assert_eq!(text, "a.csv.gz, row 1, column isFraud: \"2\" does not fit: it must be 0 or 1");
}

#[test]
fn damage_ends_the_reading_with_its_place() {
    let rows = transfers("1,2,3,4\n1,2,3\n5,6,7,8\n");
    assert_eq!(rows.len(), 2);
    let text = rows[1].as_ref().unwrap_err().to_string();
    assert!(
        text.starts_with("t.csv.gz, row 2: ") && text.ends_with("nothing after it can be read"),
        "{text}"
    );

    let many: String =
        (0..50_000).map(|row| format!("{row},{},{}.{},3\n", row * 7, row % 600, row % 90)).collect();
    let whole = gzip(&format!("{TRANSFERS}{many}"));
    let cut = &whole[..whole.len() / 2];
    let rows: Vec<_> = amlsim::transfers("t.csv.gz", cut).unwrap().collect();
    let (last, good) = rows.split_last().unwrap();
    assert!(good.len() > 1_000 && good.iter().all(Result::is_ok), "{}", good.len());
    let Err(AmlSimError::Damaged { row, .. }) = last else { panic!("{last:?}") };
    assert_eq!(*row, good.len() as u64 + 1);
}

#[test]
fn what_is_no_such_file_is_refused() {
    let message = |bytes: &[u8]| amlsim::transfers("t.csv.gz", bytes).err().unwrap().to_string();
    assert!(message(TRANSFERS.as_bytes()).starts_with("t.csv.gz, row 0: "));
    assert!(message(&gzip("a,b\n1,2\n")).contains("has no column \"sourceNodeId\""));
    assert!(message(&gzip("")).contains("has no column"));
    assert!(message(b"").contains("t.csv.gz"));
    assert!(message(&gzip(ACCOUNTS)).ends_with("it must have sourceNodeId, targetNodeId, value, time"));

    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is on fire"))
        }
    }
    let error = amlsim::accounts("a.csv.gz", Broken).err().unwrap();
    assert_eq!(error.to_string(), "a.csv.gz cannot be read: the disk is on fire");
}

/// A file of the published sample; `None`, said aloud, where this machine does not have it.
fn sample(name: &str) -> Option<File> {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("ANNALS_DATA").map_or(default, PathBuf::from);
    let path = folder.join("bank").join(name);
    match File::open(&path) {
        Ok(file) => Some(file),
        Err(error) => {
            let what = format!("{} cannot be opened ({error}); set ANNALS_DATA", path.display());
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{what}");
            println!("skipped: {what}");
            None
        }
    }
}

#[test]
fn the_published_sample_is_read_whole() {
    let (Some(nodes), Some(edges)) = (sample("nodes.csv.gz"), sample("transactions.csv.gz")) else { return };
    let accounts: Vec<_> = amlsim::accounts("nodes.csv.gz", nodes).unwrap().map(Result::unwrap).collect();
    let names: HashSet<&str> = accounts.iter().map(|row| row.account.as_str()).collect();
    let marked = accounts.iter().filter(|row| row.is_fraud).count();
    assert_eq!((accounts.len(), names.len(), marked), (20_000, 20_000, 1_804));

    let rows: Vec<_> = amlsim::transfers("transactions.csv.gz", edges).unwrap().map(Result::unwrap).collect();
    let to_self = rows.iter().filter(|row| row.from == row.to).count();
    let mut seen = HashSet::new();
    let twice = rows.iter().filter(|row| !seen.insert((&row.from, &row.to, row.amount, row.at))).count();
    assert_eq!((rows.len(), to_self, twice), (120_558, 15, 1_684));
    assert!(rows.iter().all(|row| names.contains(row.from.as_str()) && names.contains(row.to.as_str())));
    let keys: HashSet<&str> = rows.iter().map(|row| row.key.as_str()).collect();
    assert_eq!(keys.len(), rows.len());
    assert_eq!(rows.last().unwrap().at.to_string(), "2020-05-29T00:00:00Z");
}
