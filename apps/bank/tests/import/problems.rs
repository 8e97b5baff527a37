//! What is wrong is named by its file and row, and costs nothing.

use annals::Options;
use annals::parts::engine::{PlantedBug, Settings};
use annals_bank::account::{Account, Command};

use crate::data::Data;
use crate::{Heard, balance, import, import_heard, open, open_with};

const NODES: &str = "1,0,10.00,-1\n2,0,5.00,-1\n";

/// The message of an import that must fail; nothing may have been sent.
fn message(data: &Data) -> String {
    let app = open("memory:");
    let before = app.engine().log().end(annals::ShardId(0));
    let text = import(&app, data, &[]).unwrap_err().to_string();
    assert_eq!(app.engine().log().end(annals::ShardId(0)), before, "{text}");
    text
}

#[test]
fn a_bad_row_is_named_and_nothing_is_sent() {
    for (nodes, transfers, expected) in [
        (
            NODES,
            "1,2,3,0\n1,2,x,0\n",
            "transactions.csv.gz, row 2: column value: \"x\" does not fit: an amount is",
        ),
        (NODES, "1,2,3,0\n1,2,0.001,0\n", "transactions.csv.gz, row 2: column value: \"0.001\" does not fit"),
        (NODES, "1,2,3,y\n", "transactions.csv.gz, row 1: column time: \"y\" does not fit"),
        (NODES, "1,2,3,0\n2,1,3,0\n1,3,1,0\n", "transactions.csv.gz, row 3: account 3 is not in "),
        (NODES, "3,1,3,0\n", "transactions.csv.gz, row 1: account 3 is not in "),
        ("1,0,-5,-1\n", "", "nodes.csv.gz, row 1: column init_balance: \"-5\" does not fit"),
        ("1,0,5,-1\n2,0,5,-1\n1,0,5,-1\n", "", "nodes.csv.gz, row 3: account 1 stands in row 1 already"),
        (NODES, "1,2,3,0\n1,2,3\n", "transactions.csv.gz, row 2: "),
    ] {
        let text = message(&Data::of(nodes, transfers));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_file_that_is_no_such_file_is_named() {
    let header = "nodeid,isFraud,init_balance,fraudStep\n";
    let text = message(&Data::raw(header, "sourceNodeId,value,time\n"));
    let expected = "transactions.csv.gz: it has no column \"targetNodeId\"; it must have sourceNodeId,";
    assert!(text.contains(expected), "{text}");

    let mut data = Data::of(NODES, "1,2,3,0\n");
    std::mem::swap(&mut data.nodes, &mut data.transfers);
    assert!(message(&data).contains("it has no column \"nodeid\""));

    let data = Data::made(1, 100, 5_000);
    let whole = std::fs::read(&data.transfers).unwrap();
    for cut in [whole.len() / 2, whole.len() - 1] {
        std::fs::write(&data.transfers, &whole[..cut]).unwrap();
        let text = message(&data);
        assert!(
            text.contains("transactions.csv.gz, row ") && text.contains("nothing after it can be read"),
            "{text}"
        );
    }
    std::fs::write(&data.transfers, "1,2,3\n").unwrap();
    assert!(message(&data).contains("transactions.csv.gz: it is no gzipped CSV: "));
    std::fs::remove_file(&data.transfers).unwrap();
    assert!(message(&data).contains("transactions.csv.gz: it cannot be read: "));
}

#[test]
fn one_file_or_three_are_wrong_use() {
    use annals::import::{Import, Importer as _};
    use annals_bank::import::AmlSim;
    let data = Data::of(NODES, "");
    let app = open("memory:");
    let arguments = clap::Command::new("import").args(AmlSim.arguments()).get_matches_from(["import"]);
    for count in [1, 3] {
        let files = vec![data.nodes.clone(); count];
        let import = Import { app: &app, files: &files, arguments: &arguments, progress: &Heard::default() };
        let text = AmlSim.run(&import).unwrap_err().to_string();
        assert!(text.ends_with(&format!("the accounts and the transfers; there are {count}")), "{text}");
    }
    assert!(!AmlSim.accepts(&["rows.ndjson".into()]));
    assert!(!AmlSim.accepts(&["nodes.csv.gz".into(), "rows.ndjson".into()]));
}

#[test]
fn nothing_to_import_is_an_import() {
    let app = open("memory:");
    let report = import(&app, &Data::of(NODES, ""), &[]).unwrap();
    assert_eq!((report.0["transfers"].as_u64(), report.0["rate_per_s"].as_f64()), (Some(0), Some(0.0)));
    assert_eq!((balance(&app, "1"), balance(&app, "2")), (1000, 500));
}

#[test]
fn an_account_that_takes_nothing_is_named_by_its_row() {
    let app = open("memory:");
    app.send::<Account>("2", Command::Open { overdraft: 7 }).wait().unwrap();
    let text = import(&app, &Data::of(NODES, "1,2,3,0\n"), &[]).unwrap_err().to_string();
    assert!(text.ends_with("nodes.csv.gz, row 2: there is an account with this number already"), "{text}");
}

#[test]
fn an_import_goes_on_as_it_was_begun() {
    let data = Data::made(5, 20, 100);
    for (first, then, expected) in [
        (vec!["--overdraft"], vec![], "was begun with --overdraft; give it to go on"),
        (vec![], vec!["--overdraft"], "was begun without --overdraft; leave out it to go on"),
    ] {
        let app = open("memory:");
        import(&app, &data, &first).unwrap();
        let before = app.engine().log().end(annals::ShardId(0));
        let text = import(&app, &data, &then).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
        assert_eq!(app.engine().log().end(annals::ShardId(0)), before);
    }
}

#[test]
fn a_transfer_that_never_ends_stops_the_import() {
    let engine = Settings { planted_bug: Some(PlantedBug::RelayForgetsOutcome), ..Settings::default() };
    let app = open_with("memory:", Options { engine, ..Options::default() });
    let heard = Heard::default();
    let text = import_heard(&app, &Data::made(6, 20, 200), &["--overdraft"], &heard).unwrap_err().to_string();
    assert!(
        text.contains("transactions.csv.gz, row ") && text.contains("its transfer does not end"),
        "{text}"
    );
    assert!(*heard.done.lock().unwrap() > 50, "the others ended");
}
