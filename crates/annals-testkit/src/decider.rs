//! Given events, when a command, then events or a refusal.

use std::sync::Arc;

use annals_core::{Meta, Timestamp};
use serde_json::Value;

use crate::check::{
    TestDecider, fail, json, same, survives, survives_coded, survives_event, survives_refusal,
};
use crate::scene;

/// Begins with an entity to which `events` have happened.
#[track_caller]
pub fn given<D: TestDecider>(events: impl IntoIterator<Item = D::Event>) -> Given<D> {
    let meta = scene::meta(scene::stream(D::NAME, "given"), 0);
    let mut given = Given { state: survives("the state", &D::default()), meta };
    for event in events {
        given.take(&event);
    }
    given
}

/// An entity with a past, and what is around the next command.
#[derive(Clone, Debug)]
pub struct Given<D> {
    state: D,
    meta: Meta,
}

/// An entity that has been asked something.
#[derive(Clone, Debug)]
#[must_use = "say what is expected: then, refused, nothing or then_state"]
pub struct When<D: TestDecider> {
    given: Given<D>,
    command: D::Command,
}

impl<D: TestDecider> Given<D> {
    /// The entity's id; `given` unless a test says otherwise.
    #[must_use]
    #[track_caller]
    pub fn id(mut self, id: impl Into<D::Id>) -> Self {
        self.meta.stream = scene::stream(D::NAME, &id.into().to_string());
        self
    }

    /// When the next commands are recorded; 2026-01-01T00:00:00Z unless a test says otherwise.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.meta.recorded_at = at;
        self
    }

    /// When what the next commands say happened in the world.
    #[must_use]
    pub fn occurred_at(mut self, at: Timestamp) -> Self {
        self.meta.occurred_at = Some(at);
        self
    }

    /// Who sends the next commands.
    #[must_use]
    pub fn actor(mut self, actor: &str) -> Self {
        self.meta.actor = Some(Arc::from(actor));
        self
    }

    /// Asks something.
    #[track_caller]
    pub fn when(self, command: D::Command) -> When<D> {
        let command = survives_coded("the command", &command);
        When { given: self, command }
    }

    /// Looks at the state.
    pub fn then_state(self, look: impl FnOnce(&D)) -> Self {
        look(&self.state);
        self
    }

    #[track_caller]
    fn take(&mut self, event: &D::Event) {
        self.state.evolve(&survives_event(event));
        self.state = survives("the state", &self.state);
        self.meta.version += 1;
    }
}

impl<D: TestDecider> When<D> {
    /// The entity's id, as [`Given::id`].
    #[track_caller]
    pub fn id(mut self, id: impl Into<D::Id>) -> Self {
        self.given = self.given.id(id);
        self
    }

    /// When the command is recorded, as [`Given::at`].
    pub fn at(mut self, at: Timestamp) -> Self {
        self.given = self.given.at(at);
        self
    }

    /// When it happened in the world, as [`Given::occurred_at`].
    pub fn occurred_at(mut self, at: Timestamp) -> Self {
        self.given = self.given.occurred_at(at);
        self
    }

    /// Who sends the command, as [`Given::actor`].
    pub fn actor(mut self, actor: &str) -> Self {
        self.given = self.given.actor(actor);
        self
    }

    /// Exactly these events happen, in this order. They are part of the past of what follows.
    #[track_caller]
    pub fn then(mut self, expected: impl IntoIterator<Item = D::Event>) -> Given<D> {
        let expected: Vec<D::Event> = expected.into_iter().collect();
        match self.decide() {
            Ok(found) => same("other events than expected", &expected, &found, |events| list::<D>(events)),
            Err(refusal) => fail(&format!(
                "expected the events {:#}\nfound the refusal {:#} ({refusal})",
                list::<D>(&expected),
                json(&refusal)
            )),
        }
        for event in &expected {
            self.given.take(event);
        }
        self.given
    }

    /// The command is accepted and nothing happens: what it asks for is so already.
    #[track_caller]
    pub fn nothing(self) -> Given<D> {
        self.then([])
    }

    /// The command is refused, with exactly this refusal.
    #[track_caller]
    pub fn refused(self, expected: D::Refusal) -> Given<D> {
        match self.decide() {
            Err(found) => same("another refusal than expected", &expected, &found, json),
            Ok(events) => fail(&format!(
                "expected the refusal {:#} ({expected})\nfound the events {:#}",
                json(&expected),
                list::<D>(&events)
            )),
        }
        self.given
    }

    /// The command is accepted, whatever happens; looks at the state after it.
    #[track_caller]
    pub fn then_state(mut self, look: impl FnOnce(&D)) -> Given<D> {
        match self.decide() {
            Ok(events) => events.iter().for_each(|event| self.given.take(event)),
            Err(refusal) => fail(&format!(
                "expected the command to be accepted\nfound the refusal {:#} ({refusal})",
                json(&refusal)
            )),
        }
        self.given.then_state(look)
    }

    #[track_caller]
    fn decide(&self) -> Result<Vec<D::Event>, D::Refusal> {
        let Given { state, meta } = &self.given;
        let answer = state.decide(&self.command, meta);
        if answer != state.decide(&self.command, meta) {
            fail("decide is not pure: asked twice, it gave two answers");
        }
        match answer {
            Ok(events) => {
                let mut events_back = Vec::with_capacity(events.len());
                for event in &events {
                    events_back.push(survives_event(event));
                }
                Ok(events_back)
            }
            Err(refusal) => Err(survives_refusal(&refusal)),
        }
    }
}

fn list<D: TestDecider>(events: &[D::Event]) -> Value {
    Value::Array(events.iter().map(json).collect())
}
