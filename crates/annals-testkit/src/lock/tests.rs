//! The check against files that are there, missing, old or wrong.

use annals_core::{Decider, Meta};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;

/// A context with one decider whose event holds `$fields`.
macro_rules! context {
    ($(#[$attribute:meta])* $variant:ident { $($field:ident: $ty:ty),* } $($rest:tt)*) => {{
        #[derive(annals_macros::Event, Serialize, Deserialize, JsonSchema, Clone)]
        #[event(prefix = "account", crate = "annals_core")]
        enum Event { $(#[$attribute])* $variant { $($field: $ty),* } }
        #[derive(annals_macros::Command, Serialize, Deserialize, JsonSchema, Clone)]
        #[command(crate = "annals_core")]
        enum Command { Act }
        #[derive(annals_macros::Refusal, thiserror::Error, Serialize, Deserialize, JsonSchema, Clone, Debug)]
        #[refusal(crate = "annals_core")]
        enum Refusal {}
        #[derive(Default, Clone, Serialize, Deserialize, JsonSchema)]
        struct Account;
        impl Decider for Account {
            const NAME: &'static str = "account";
            type Id = String;
            type Command = Command;
            type Event = Event;
            type Refusal = Refusal;
            fn decide(&self, Command::Act: &Command, _: &Meta) -> Result<Vec<Event>, Refusal> {
                Ok(Vec::new())
            }
            fn evolve(&mut self, _: &Event) {}
        }
        $($rest)*
        annals_core::context("bank").decider::<Account>()
    }};
}

fn unsigned() -> Context {
    context!(Deposited { amount: u64 })
}

fn signed() -> Context {
    context!(Deposited { amount: i64 })
}

fn with_note() -> Context {
    context!(Deposited { amount: u64, note: Option<String> })
}

fn raised() -> Context {
    context!(
        #[event(shape = 2, was(1 = Unsigned))]
        Deposited { amount: i64 }
        #[derive(Deserialize)]
        struct Unsigned { amount: u64 }
        impl From<Unsigned> for Event {
            fn from(Unsigned { amount }: Unsigned) -> Self {
                Self::Deposited { amount: i64::try_from(amount).unwrap_or(i64::MAX) }
            }
        }
    )
}

struct File {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl File {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { path: directory.path().join("annals.lock"), _directory: directory }
    }

    fn of(context: &Context) -> Self {
        let file = Self::new();
        check_as(Mode::Update, context, &file.path).unwrap();
        file
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap()
    }

    fn error(&self, mode: Mode, context: &Context) -> String {
        let before = std::fs::read(&self.path).ok();
        let error = check_as(mode, context, &self.path).unwrap_err().to_string();
        assert_eq!(std::fs::read(&self.path).ok(), before, "a refusal leaves the file alone");
        error.replace(&*self.path.to_string_lossy(), "annals.lock")
    }
}

#[test]
fn the_file_is_made_on_request_only() {
    let file = File::new();
    assert_eq!(
        file.error(Mode::Check, &unsigned()),
        "annals.lock is not there yet; write it with ANNALS_LOCK=update cargo test, and commit it"
    );
    check_as(Mode::Update, &unsigned(), &file.path).unwrap();
    check_as(Mode::Check, &unsigned(), &file.path).unwrap();
    assert!(file.text().ends_with(
        "\n[event account.deposited 1]\namount: integer uint64 >= 0\n\n[command account/act 1]\n"
    ));
}

#[test]
fn a_breaking_change_is_shown_and_written_by_force_only() {
    let file = File::of(&unsigned());
    let shown = "\
what was stored before can no longer be read, says annals.lock:

event account.deposited 1: changed without a new shape
  - amount: integer uint64 >= 0
  + amount: integer int64
  raise its shape and write an upcast: shape = 2, was(1 = ..); or restore it

then write it with ANNALS_LOCK=update cargo test; if nothing of this was ever stored, ANNALS_LOCK=force";
    assert_eq!(file.error(Mode::Check, &signed()), shown);
    assert_eq!(file.error(Mode::Update, &signed()), shown);
    check_as(Mode::Force, &signed(), &file.path).unwrap();
    check_as(Mode::Check, &signed(), &file.path).unwrap();
}

#[test]
fn a_compatible_change_is_an_error_until_it_is_written() {
    let file = File::of(&unsigned());
    assert_eq!(
        file.error(Mode::Check, &with_note()),
        "\
annals.lock does not have these changes yet, all of them fine:

event account.deposited 1: gained what old data need not have
  + note?: string | null

write it with ANNALS_LOCK=update cargo test, and commit it"
    );
    check_as(Mode::Update, &with_note(), &file.path).unwrap();
    check_as(Mode::Check, &with_note(), &file.path).unwrap();
}

#[test]
fn a_raised_shape_is_written_beside_the_old_one() {
    let file = File::of(&unsigned());
    assert!(file.error(Mode::Check, &raised()).contains("raised from shape 1, with upcasts"));
    check_as(Mode::Update, &raised(), &file.path).unwrap();
    check_as(Mode::Check, &raised(), &file.path).unwrap();
    assert!(file.text().contains("[event account.deposited 1]\n"));
    assert!(file.text().contains("[event account.deposited 2, reads 1]\n"));
    assert!(file.error(Mode::Update, &unsigned()).contains("the file has shape 2 already"));
}

#[test]
fn a_file_that_is_no_lock_is_named_and_kept() {
    let file = File::of(&unsigned());
    std::fs::write(&file.path, "<<<<<<< ours\n").unwrap();
    for mode in [Mode::Check, Mode::Update] {
        let error = file.error(mode, &unsigned());
        assert!(error.starts_with("annals.lock: line 1 of the lock is not one"), "{error}");
    }
    check_as(Mode::Force, &unsigned(), &file.path).unwrap();
    check_as(Mode::Check, &unsigned(), &file.path).unwrap();
    std::fs::remove_file(&file.path).unwrap();
    std::fs::create_dir(&file.path).unwrap();
    assert!(matches!(check_as(Mode::Force, &unsigned(), &file.path), Err(LockError::File { .. })));
}

#[test]
fn the_variable_knows_two_words() {
    for (value, mode) in [("", Mode::Check), ("update", Mode::Update), ("force", Mode::Force)] {
        assert_eq!(Mode::of(value).unwrap(), mode);
    }
    assert_eq!(
        Mode::of("yes").unwrap_err().to_string(),
        "ANNALS_LOCK is \"yes\"; set it to update or force, or not at all"
    );
}
