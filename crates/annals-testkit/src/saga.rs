//! Given what a saga has heard, when it hears something more, then commands, timers or the end.
//!
//! It holds the saga to what the engine does: a finished saga hears nothing more, an outcome needs a command that
//! was sent, a timer must be set to come due, and a refused compensation is parked and gives no signal.

use std::panic::Location;
use std::time::Duration;

use annals_core::codec::canonical_json;
use annals_core::envelope::{RefusalPart, SendPart, TimerPart};
use annals_core::saga::Reaction;
use annals_core::{Outbox, Recorded, Refusal, Refused, Signal, Timestamp, refusal};
use serde_json::{Value, json};

use crate::check::{Compared, TestDecider, TestSaga, fail, must, survives, survives_coded, survives_refusal};
use crate::diff;
use crate::scene::{self, Recorder};

/// Begins with a saga that has heard `signals`, in this order; what it put out then is taken as done.
#[track_caller]
pub fn given_saga<S: TestSaga>(signals: impl IntoIterator<Item = Heard<S>>) -> GivenSaga<S> {
    let mut given = GivenSaga {
        state: survives("the state", &S::default()),
        key: None,
        now: scene::still(),
        recorder: Recorder::default(),
        sent: Vec::new(),
        timers: Vec::new(),
        finished: false,
    };
    for signal in signals {
        given.hear(&signal);
    }
    given
}

/// Something a saga hears.
#[derive(Clone, Debug)]
pub struct Heard<S: TestSaga>(Inner<S>);

#[derive(Clone, Debug)]
enum Inner<S: TestSaga> {
    Event(String, S::Input),
    Timer(String),
    Accepted(String),
    Refused(String, RefusalPart),
}

impl<S: TestSaga> Heard<S> {
    /// An event of the stream of that full name: `account/ann`.
    #[must_use]
    pub fn event(stream: &str, event: impl Into<S::Input>) -> Self {
        Self(Inner::Event(stream.to_owned(), event.into()))
    }

    /// A timer comes due.
    #[must_use]
    #[track_caller]
    pub fn timer(timer: &S::Timer) -> Self {
        Self(Inner::Timer(canonical(timer)))
    }

    /// The command of this step is accepted.
    #[must_use]
    #[track_caller]
    pub fn accepted(step: &S::Step) -> Self {
        Self(Inner::Accepted(canonical(step)))
    }

    /// The command of this step is refused.
    #[must_use]
    #[track_caller]
    pub fn refused<R: Refusal + Compared>(step: &S::Step, refusal: &R) -> Self {
        let refusal = survives_refusal(refusal);
        let part = must("the refusal cannot be stored", refusal::encode(&refusal));
        Self(Inner::Refused(canonical(step), part))
    }
}

/// A saga with a past.
#[derive(Debug)]
pub struct GivenSaga<S> {
    state: S,
    key: Option<String>,
    now: Timestamp,
    recorder: Recorder,
    /// Commands without an outcome yet: step, and whether they compensate.
    sent: Vec<(String, bool)>,
    timers: Vec<String>,
    finished: bool,
}

impl<S: TestSaga> GivenSaga<S> {
    /// When the next signals are heard; 2026-01-01T00:00:00Z unless a test says otherwise.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.now = at;
        self
    }

    /// Hears an event of the stream of that full name: `account/ann`.
    #[track_caller]
    pub fn when_event(self, stream: &str, event: impl Into<S::Input>) -> Reacted<S> {
        self.when(&Heard::event(stream, event))
    }

    /// A timer comes due.
    #[track_caller]
    pub fn when_timer(self, timer: S::Timer) -> Reacted<S> {
        self.when(&Heard::timer(&timer))
    }

    /// The command of this step is accepted.
    #[track_caller]
    pub fn when_accepted(self, step: S::Step) -> Reacted<S> {
        self.when(&Heard::accepted(&step))
    }

    /// The command of this step is refused.
    #[track_caller]
    pub fn when_refused<R: Refusal + Compared>(self, step: S::Step, refusal: R) -> Reacted<S> {
        self.when(&Heard::refused(&step, &refusal))
    }

    /// Looks at the state.
    pub fn then_state(self, look: impl FnOnce(&S)) -> Self {
        look(&self.state);
        self
    }

    #[track_caller]
    fn when(mut self, signal: &Heard<S>) -> Reacted<S> {
        let reaction = self.hear(signal);
        let now = self.now;
        Reacted { given: Some(self), now, left: reaction, asked_at: Location::caller() }
    }

    #[track_caller]
    fn hear(&mut self, Heard(signal): &Heard<S>) -> Reaction {
        match signal {
            Inner::Event(stream, event) => {
                let event = self.recorder.record(stream, event);
                self.belongs(&event);
                self.react(Signal::Event(&event))
            }
            Inner::Timer(timer) => {
                let Some(index) = self.timers.iter().position(|set| set == timer) else {
                    fail(&format!("the timer {timer} is not set; set are {:?}", self.timers));
                };
                self.timers.remove(index);
                let timer = read::<S::Timer>("the timer", timer);
                self.react(Signal::Timer(&timer))
            }
            Inner::Accepted(step) => {
                self.outcome(step);
                let step = read::<S::Step>("the step", step);
                self.react(Signal::Accepted(&step))
            }
            Inner::Refused(step, part) => {
                if self.outcome(step) {
                    fail(&format!("step {step} compensates: refused, it is parked and gives no signal"));
                }
                let step = read::<S::Step>("the step", step);
                self.react(Signal::Refused(&step, &Refused::from(part.clone())))
            }
        }
    }

    #[track_caller]
    fn belongs(&mut self, event: &Recorded<S::Input>) {
        let Some(key) = S::key(event) else {
            fail(&format!("the event matters to no saga {:?}: key gave None for {:?}", S::NAME, event.event));
        };
        let key = key.to_string();
        if key.parse::<S::Key>().is_err() {
            fail(&format!("the key {key:?} does not survive being stored"));
        }
        let first = self.key.get_or_insert_with(|| key.clone());
        if *first != key {
            fail(&format!("the event belongs to instance {key:?}, this is instance {first:?}"));
        }
    }

    /// Takes the sent command off the list; says whether it compensates.
    #[track_caller]
    fn outcome(&mut self, step: &str) -> bool {
        let Some(index) = self.sent.iter().position(|(sent, _)| sent == step) else {
            fail(&format!("no command of step {step} waits for an outcome; waiting are {:?}", self.sent));
        };
        self.sent.remove(index).1
    }

    #[track_caller]
    fn react(&mut self, signal: Signal<'_, S>) -> Reaction {
        if self.finished {
            return Reaction::default();
        }
        let mut again: S = survives("the state", &self.state);
        let mut out = Outbox::new(None, self.now);
        let repeat = match &signal {
            Signal::Event(event) => Signal::Event(*event),
            Signal::Timer(timer) => Signal::Timer(*timer),
            Signal::Accepted(step) => Signal::Accepted(*step),
            Signal::Refused(step, refused) => Signal::Refused(*step, refused),
        };
        again.react(repeat, &mut out);
        let first = out.into_reaction();
        let mut out = Outbox::new(None, self.now);
        self.state.react(signal, &mut out);
        let reaction = must("the saga put out what cannot be stored", out.into_reaction());
        if first.as_ref() != Ok(&reaction) || again != self.state {
            fail("react is not pure: asked twice, it gave two answers");
        }
        self.state = survives("the state", &self.state);
        self.carry_out(&reaction);
        reaction
    }

    fn carry_out(&mut self, reaction: &Reaction) {
        let steps = reaction.sends.iter().map(|send| (text(&send.step), send.compensation));
        self.sent.extend(steps);
        for timer in &reaction.timers {
            self.timers.retain(|set| *set != timer.timer);
            self.timers.push(timer.timer.clone());
        }
        self.timers.retain(|set| !reaction.cancelled.contains(set));
        self.finished |= reaction.finished;
    }
}

/// A saga that has reacted, and what of its reaction no assertion has named yet.
///
/// Sends are named in their order. What is left unnamed when the sentence ends fails the test.
#[derive(Debug)]
pub struct Reacted<S: TestSaga> {
    given: Option<GivenSaga<S>>,
    now: Timestamp,
    left: Reaction,
    asked_at: &'static Location<'static>,
}

impl<S: TestSaga> Reacted<S> {
    /// It sends this command to this entity as this step.
    #[track_caller]
    pub fn sends<D: TestDecider>(self, step: S::Step, id: impl Into<D::Id>, command: D::Command) -> Self {
        self.puts_out::<D>(step, id.into(), command, false)
    }

    /// It sends this command to undo an earlier step.
    #[track_caller]
    pub fn compensates<D: TestDecider>(
        self,
        step: S::Step,
        id: impl Into<D::Id>,
        command: D::Command,
    ) -> Self {
        self.puts_out::<D>(step, id.into(), command, true)
    }

    /// It sets this timer to come due that much later.
    #[track_caller]
    pub fn sets_timer(mut self, timer: S::Timer, after: Duration) -> Self {
        let mut out = Outbox::<S>::new(None, self.now);
        out.after(after, survives("the timer", &timer));
        let expected = must("the timer cannot be stored", out.into_reaction()).timers;
        let found = if self.left.timers.is_empty() { None } else { Some(self.left.timers.remove(0)) };
        if expected.first() != found.as_ref() {
            let show = |timer: Option<&TimerPart>| timer.map_or(Value::Null, show_timer);
            let report = diff::report(&show(expected.first()), &show(found.as_ref()));
            fail(&format!("another timer than expected\n{report}"));
        }
        self
    }

    /// It forgets this timer.
    #[track_caller]
    pub fn cancels(mut self, timer: S::Timer) -> Self {
        let timer = canonical(&timer);
        match self.left.cancelled.iter().position(|cancelled| *cancelled == timer) {
            Some(index) => drop(self.left.cancelled.remove(index)),
            None => fail(&format!(
                "expected the timer {timer} to be cancelled\nfound cancelled: {:?}",
                self.left.cancelled
            )),
        }
        self
    }

    /// It is done.
    #[track_caller]
    pub fn finishes(mut self) -> Self {
        if !std::mem::take(&mut self.left.finished) {
            fail("expected the saga to finish; it did not");
        }
        self
    }

    /// It puts out nothing at all; its state may change.
    #[track_caller]
    pub fn does_nothing(self) -> GivenSaga<S> {
        self.and()
    }

    /// Ends the sentence about this reaction, to go on with the next signal.
    #[track_caller]
    pub fn and(mut self) -> GivenSaga<S> {
        let left = std::mem::take(&mut self.left);
        nothing_left(&left, self.asked_at);
        match self.given.take() {
            Some(given) => given,
            None => fail("a reaction ends once"),
        }
    }

    /// Looks at the state after the reaction.
    #[track_caller]
    pub fn then_state(self, look: impl FnOnce(&S)) -> GivenSaga<S> {
        self.and().then_state(look)
    }

    #[track_caller]
    fn puts_out<D: TestDecider>(
        mut self,
        step: S::Step,
        id: D::Id,
        command: D::Command,
        compensation: bool,
    ) -> Self {
        let (step, command) = (survives("the step", &step), survives_coded("the command", &command));
        let mut out = Outbox::<S>::new(None, self.now);
        if compensation {
            out.compensate::<D>(step, id, command);
        } else {
            out.send::<D>(step, id, command);
        }
        let expected = must("the expected command cannot be stored", out.into_reaction()).sends;
        let found = if self.left.sends.is_empty() { None } else { Some(self.left.sends.remove(0)) };
        if expected.first() != found.as_ref() {
            let show = |send: Option<&SendPart>| send.map_or(Value::Null, show_send);
            let report = diff::report(&show(expected.first()), &show(found.as_ref()));
            fail(&format!("another command than expected\n{report}"));
        }
        self
    }
}

impl<S: TestSaga> Drop for Reacted<S> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            nothing_left(&self.left, self.asked_at);
        }
    }
}

#[track_caller]
fn nothing_left(left: &Reaction, asked_at: &Location<'_>) {
    if *left == Reaction::default() {
        return;
    }
    let sends: Vec<Value> = left.sends.iter().map(show_send).collect();
    let timers: Vec<Value> = left.timers.iter().map(show_timer).collect();
    let left = json!({
        "sends": sends, "timers": timers, "cancelled": left.cancelled, "finished": left.finished
    });
    fail(&format!("the saga that reacted at {asked_at} did more than the test names:\n{left:#}"));
}

fn show_send(send: &SendPart) -> Value {
    json!({
        "to": send.stream,
        "command": send.name,
        "fields": parsed(&send.payload),
        "step": parsed(&send.step),
        "compensation": send.compensation,
    })
}

fn show_timer(timer: &TimerPart) -> Value {
    let due = annals_core::envelope::from_micros(timer.due_at_us).to_string();
    json!({ "timer": parsed(timer.timer.as_bytes()), "due": due })
}

fn parsed(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(text(bytes)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn canonical<T: annals_core::Stored + Compared>(value: &T) -> String {
    must("the value cannot be stored", canonical_json(&survives("the value", value)))
}

#[track_caller]
fn read<T: annals_core::Stored>(what: &str, text: &str) -> T {
    must(&format!("{what} cannot be read back"), serde_json::from_str(text))
}
