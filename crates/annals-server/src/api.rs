//! The routes below `/api`.

pub(crate) mod admin;
pub(crate) mod command;
pub(crate) mod context;
pub(crate) mod entity;
pub(crate) mod feed;
pub(crate) mod time;
pub(crate) mod view;

use annals_core::{StreamName, Tenant};
use annals_engine::Engine;

use crate::problem::{Kind, Problem};

/// The stream of `decider`'s entity `id`; unknown deciders and ids are told.
fn stream(engine: &Engine, tenant: Option<&Tenant>, kind: &str, id: &str) -> Result<StreamName, Problem> {
    Ok(engine.stream(tenant, kind, id)?)
}

/// The answer where nothing has happened to `stream`.
fn no_entity(stream: &StreamName) -> Problem {
    Problem::new(Kind::NoEntity, format!("nothing has happened to {stream}")).with("stream", stream.as_str())
}
