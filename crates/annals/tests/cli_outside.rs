//! A program outside of the workspace builds against the crate alone and has the whole command line.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The template, copied to a place of its own, with the path to this crate filled in.
fn copy(to: &Path) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let template = here.join("tests/outside");
    std::fs::create_dir(to.join("src")).unwrap();
    std::fs::copy(template.join("src/main.rs"), to.join("src/main.rs")).unwrap();
    let manifest = std::fs::read_to_string(template.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("path = \"ANNALS\""));
    let manifest = manifest.replace("path = \"ANNALS\"", &format!("path = {here:?}"));
    // The workspace's profile, so that what is built already can be used.
    let workspace = std::fs::read_to_string(here.join("../../Cargo.toml")).unwrap();
    let profile = &workspace[workspace.find("[profile.dev]").unwrap()..];
    std::fs::write(to.join("Cargo.toml"), format!("{manifest}\n{profile}")).unwrap();
    // The workspace's versions, so that nothing has to be fetched.
    std::fs::copy(here.join("../../Cargo.lock"), to.join("Cargo.lock")).unwrap();
}

/// The folder that cargo builds the workspace into.
fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().find(|path| path.join("deps").is_dir()).unwrap();
    profile.parent().unwrap().to_owned()
}

fn build(crate_directory: &Path) -> PathBuf {
    let target = target();
    let output = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet"])
        .current_dir(crate_directory)
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug/counters")
}

#[test]
fn a_program_of_a_users_own_has_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    copy(directory.path());
    let program = build(directory.path());
    let run = |arguments: &[&str]| -> Output {
        Command::new(&program).args(arguments).current_dir(directory.path()).output().unwrap()
    };
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let add = |amount: u32| format!("{{\"amount\":{amount}}}");
    for amount in [99, 100] {
        json(&["send", "counters", "counter", "visits", "add", &add(amount), "--json"]);
    }
    let refused = run(&["send", "counters", "counter", "visits", "add", &add(101)]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("refused (too-much): 101 is too much at once"), "{said}");
    json(&["send", "counters", "counter", "visits", "reset", "--json"]);
    assert_eq!(json(&["state", "counters", "counter", "visits", "--json"])["state"]["value"], 0);
    assert_eq!(json(&["view", "get", "counters", "total", "visits", "--json"])["amount"], 199);
    assert_eq!(json(&["log", "verify", "--json"])["sound"], true);
    // It is called what it is called, has no demo, and wants a command.
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    assert!(help.contains("Usage: counters <COMMAND>") && !help.contains("demo"), "{help}");
    assert_eq!(run(&[]).status.code(), Some(2));
    assert!(run(&["bench", "--help"]).status.success());
}
