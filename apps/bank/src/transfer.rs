//! A transfer: money leaves one account when, and only when, it has arrived in another.
//!
//! ```text
//! Held ──► credit the receiver ──accepted──► post the hold on the source, done
//!                              └─refused───► void the hold (a compensation), done
//! ```
//!
//! One instance per transfer, under the transfer's id, three records in all. It keeps no deadline: an outcome that
//! is late is unknown, and a hold released on suspicion while the credit arrives would create money. The credit is
//! retried until there is an answer.

use annals::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::account::{Account, Command, Event};

/// What a transfer knows: nothing before it hears of its hold.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct Transfer {
    /// Its id.
    pub id: String,
    /// The sending account.
    pub from: String,
    /// How it stands.
    pub stage: Stage,
}

/// How a transfer stands.
#[derive(Default, Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The receiver is being credited.
    #[default]
    Crediting,
    /// The money has arrived, the hold becomes a debit.
    Arrived,
    /// The receiver refused, the hold is released.
    Returned,
}

/// What a transfer sends.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The receiver gets the money.
    Credit,
    /// The hold on the source becomes a debit.
    Post,
    /// The hold on the source is released.
    Void,
}

impl Saga for Transfer {
    const NAME: &'static str = "transfer";
    type Key = String;
    type Input = Event;
    type Step = Step;
    type Timer = ();

    fn key(e: &Recorded<Event>) -> Option<String> {
        match &e.event {
            Event::Held { transfer, .. } => Some(transfer.clone()),
            _ => None,
        }
    }

    fn react(&mut self, signal: Signal<'_, Self>, out: &mut Outbox<Self>) {
        match signal {
            Signal::Event(e) => self.begin(e, out),
            Signal::Accepted(Step::Credit) => {
                self.stage = Stage::Arrived;
                let transfer = self.id.clone();
                out.send::<Account>(Step::Post, self.from.clone(), Command::Post { transfer });
                out.finish();
            }
            Signal::Refused(Step::Credit, why) => {
                self.stage = Stage::Returned;
                let (transfer, reason) = (self.id.clone(), why.text.clone());
                let void = Command::Void { transfer, reason };
                out.compensate::<Account>(Step::Void, self.from.clone(), void);
                out.finish();
            }
            // The last command is sent by a reaction that finishes, so its outcome is not heard.
            Signal::Accepted(_) | Signal::Refused(..) | Signal::Timer(()) => {}
        }
    }
}

impl Transfer {
    fn begin(&mut self, e: &Recorded<Event>, out: &mut Outbox<Self>) {
        let Event::Held { transfer, to, amount, reference } = &e.event else { return };
        self.id.clone_from(transfer);
        self.from = e.meta.id().to_owned();
        let credit = Command::Credit {
            transfer: transfer.clone(),
            from: self.from.clone(),
            amount: *amount,
            reference: reference.clone(),
        };
        out.send::<Account>(Step::Credit, to.clone(), credit);
    }
}
