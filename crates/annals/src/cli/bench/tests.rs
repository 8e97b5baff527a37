//! Every benchmark, quickly: that it runs, gives every figure it is to give, and leaves nothing behind.

use super::*;

/// What the second process runs when it is this test program: the test below, alone.
fn second() -> Second {
    let name = format!("{}::second_process", module_path!().split_once("::").unwrap().1);
    let arguments = ["--exact", &name, "--ignored", "--nocapture"].map(str::to_owned).to_vec();
    Second { program: std::env::current_exe().unwrap(), arguments }
}

#[test]
#[ignore = "the second process of a benchmark; started by it"]
fn second_process() {
    open::child().unwrap();
}

/// Rows of the benchmark `name`, and that they have the fields `expected`.
fn quick(name: &str, rows: usize, expected: &[&str]) -> Vec<Row> {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("bench");
    let url = format!("file:{}", directory.display());
    let matches = command().try_get_matches_from(["bench", name, "--quick", "--log", &url]).unwrap();
    let (name, matches) = matches.subcommand().unwrap();
    let options = Options::read(name, matches, false).unwrap();
    let found = measure(name, &options, &second()).unwrap();
    assert!(!directory.exists(), "{name} left something behind");
    assert_eq!(found.len(), rows, "{name}");
    for row in &found {
        let json = serde_json::to_value(row).unwrap();
        for field in
            ["rate_per_s", "p50_us", "p99_us", "limit_per_s", "limit_p50_us", "ratio", "cpu_us", "bytes"]
        {
            let value = json[field].as_f64();
            assert_eq!(value.is_some(), expected.contains(&field), "{name}: {field} of {row:?}");
            // Processor time is counted in hundredths of a second, and may be none in so short a time.
            let none = field == "cpu_us" || (name == "open" && field == "bytes");
            assert!(value.is_none_or(|value| value > 0.0 || none), "{name}: {field} of {row:?}");
        }
    }
    found
}

const OURS: [&str; 4] = ["rate_per_s", "p50_us", "p99_us", "cpu_us"];
const ALL: [&str; 7] = ["rate_per_s", "p50_us", "p99_us", "limit_per_s", "limit_p50_us", "ratio", "cpu_us"];
const PASSES: [&str; 4] = ["rate_per_s", "limit_per_s", "ratio", "cpu_us"];

#[test]
fn disk_and_append() {
    let groups = |rows: Vec<Row>| rows.into_iter().map(|row| row.case).collect::<Vec<_>>();
    assert_eq!(groups(quick("disk", 5, &OURS)), ["1", "8", "64", "512", "4096"]);
    assert_eq!(groups(quick("append", 5, &ALL)), ["1", "8", "64", "512", "4096"]);
}

#[test]
fn commands() {
    let rows = quick("commands", 2, &ALL);
    assert_eq!(rows.iter().map(|row| row.clients).collect::<Vec<_>>(), [1, 4]);
}

#[test]
fn reading() {
    quick("load", 2, &ALL);
    quick("scan", 1, &PASSES);
    quick("replay", 1, &PASSES);
    quick("views", 2, &PASSES);
}

#[test]
fn rebuilding() {
    let matches =
        |url: &str| command().try_get_matches_from(["bench", "rebuild", "--quick", "--log", url]).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("bench");
    let matches = matches(&format!("file:{}", directory.display()));
    let (name, matches) = matches.subcommand().unwrap();
    let rows = measure(name, &Options::read(name, matches, false).unwrap(), &second()).unwrap();
    assert_eq!((rows.len(), directory.exists()), (5, false));
    assert!(rows[0].p99_us.is_some() && rows[1].ratio.is_some() && rows[2].rate_per_s.is_some());
    assert!(rows[4].p50_us.unwrap() <= rows[4].p99_us.unwrap(), "{:?}", rows[4]);
}

#[test]
fn opening() {
    let figures = ["rate_per_s", "p50_us", "p99_us", "limit_per_s", "limit_p50_us", "ratio", "bytes"];
    quick("open", 2, &figures);
}

#[test]
fn sizes() {
    let rows = quick("size", 3, &["bytes"]);
    let bytes: Vec<f64> = rows.iter().filter_map(|row| row.bytes).collect();
    assert!((bytes[0] + bytes[1] - bytes[2]).abs() < 0.01, "{bytes:?}");
}
