//! The OpenAPI 3.1 document, made from the list of routes and the contexts that are served.
//!
//! Invariant: it has exactly the operations that [`ROUTES`] and the contexts make, and every `$ref` in it leads
//! somewhere. OpenAPI 3.1 takes JSON Schema 2020-12 as it is, so the schemas of the types are taken over; their
//! definitions move to `components/schemas` under names of their own.

mod operations;
mod schemas;
mod shared;
#[cfg(test)]
mod tests;

use annals_core::Context;
use serde_json::{Map, Value, json};

use crate::routes::ROUTES;
use schemas::Schemas;

/// The document for `contexts`.
pub(crate) fn document<'a>(contexts: impl Iterator<Item = &'a Context>) -> Value {
    let contexts: Vec<&Context> = contexts.collect();
    let mut schemas = Schemas::default();
    shared::add_schemas(&mut schemas);
    contexts.iter().for_each(|context| add_context(&mut schemas, context));
    let mut paths = Map::new();
    for route in ROUTES {
        for (path, mut operation) in operations::of(route, &contexts, &schemas) {
            shared::secure(&mut operation, route.access);
            let methods = paths.entry(path).or_insert_with(|| json!({}));
            if let Some(methods) = methods.as_object_mut() {
                methods.insert(route.method.name().to_lowercase(), operation);
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Annals",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Commands, states, histories, views and events of the contexts served here. \
                Every answer that is not a success is a problem document (RFC 9457).",
        },
        "paths": paths,
        "components": {
            "parameters": shared::parameters(),
            "schemas": schemas.into_value(),
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer", "description":
                "A key of the server's file of keys. A server without one, which only this machine reaches, needs none." } },
        },
    })
}

/// Adds the schemas of everything in a context.
fn add_context(schemas: &mut Schemas, context: &Context) {
    for decider in context.deciders().values() {
        let (name, types) = (names::decider(context, decider.name()), decider.schemas());
        schemas.add(&names::state(&name), types.state);
        schemas.add(&names::events(&name), types.events);
        let commands = schemas.add(&names::commands(&name), types.commands);
        for command in decider.commands() {
            let fields = schemas::fields(&commands, command.serde_name);
            schemas.insert(&names::command(&name, command.name), fields);
        }
        let refusals = schemas.add(&names::refusals(&name), types.refusals);
        let refused: Vec<Value> =
            decider.refusals().iter().map(|refusal| shared::refused(refusal, &refusals)).collect();
        schemas.insert(&names::refused(&name), shared::any_refused(refused));
    }
    for saga in context.sagas().values() {
        let [(_, state), ..] = saga.schemas();
        schemas.add(&names::state(&names::decider(context, saga.name())), state);
    }
    for projection in context.projections().values() {
        schemas.add(&names::view(context, projection.name()), projection.schema());
    }
}

/// How schemas are called.
mod names {
    use annals_core::Context;

    pub(super) fn decider(context: &Context, name: &str) -> String {
        format!("{}.{name}", context.name())
    }

    pub(super) fn view(context: &Context, name: &str) -> String {
        format!("{}.views.{name}", context.name())
    }

    pub(super) fn state(decider: &str) -> String {
        format!("{decider}.state")
    }

    pub(super) fn events(decider: &str) -> String {
        format!("{decider}.events")
    }

    pub(super) fn commands(decider: &str) -> String {
        format!("{decider}.commands")
    }

    pub(super) fn command(decider: &str, command: &str) -> String {
        format!("{decider}.command.{command}")
    }

    pub(super) fn refusals(decider: &str) -> String {
        format!("{decider}.refusals")
    }

    pub(super) fn refused(decider: &str) -> String {
        format!("{decider}.refused")
    }
}
