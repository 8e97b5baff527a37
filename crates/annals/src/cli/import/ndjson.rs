//! From rows to requests: what is checked before anything is sent.

use std::path::PathBuf;

use annals_engine::{ExecuteError, Request};
use bytes::Bytes;

use super::rows::{Place, Row, Source};
use super::tally::Tally;
use crate::cli::failure::Failure;
use crate::cli::send;
use crate::import::ImportError;
use crate::{Context, Tenant};

/// A row that is a command of the context.
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) request: Request,
    /// The JSON of the command's fields, as it stands in the row.
    pub(super) fields: Bytes,
}

/// Whether more rows are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    Yes,
    No,
}

/// Hands the rows of all files to `take`, in order, until it wants no more or a row is none.
pub(super) fn read(
    context: &Context,
    sources: Vec<Source>,
    mut take: impl FnMut(Entry) -> Result<More, Failure>,
) -> Result<(), Failure> {
    for row in sources.into_iter().flat_map(Source::rows) {
        let row = row?;
        let place = row.place.clone();
        let entry = entry(context, row).map_err(|error| place.error(error))?;
        if take(entry)? == More::No {
            break;
        }
    }
    Ok(())
}

/// Opens all files before anything is sent.
pub(super) fn open(files: &[PathBuf], tally: &Tally) -> Result<Vec<Source>, ImportError> {
    let sources: Vec<Source> = files.iter().map(|file| Source::open(file)).collect::<Result<_, _>>()?;
    tally.total(sources.iter().map(Source::lines).sum());
    Ok(sources)
}

fn entry(context: &Context, row: Row) -> Result<Entry, ExecuteError> {
    let Row { place, key, fields: row } = row;
    let tenant = row.tenant.as_deref().map(Tenant::new).transpose()?;
    let stream = send::stream(context, tenant.as_ref(), &row.decider, &row.id)?;
    let unknown = || ExecuteError::UnknownDecider { name: row.decider.clone(), known: Vec::new() };
    let decider = context.deciders().get(row.decider.as_str()).ok_or_else(unknown)?;
    let fields = row.fields.map_or_else(Bytes::new, |raw| Bytes::from(raw.get().to_owned()));
    let command = decider.read_command(&row.command, &fields)?;
    let request = Request {
        key: Some(key),
        actor: row.actor.unwrap_or_default(),
        occurred_at: row.occurred_at,
        ..Request::new(stream, command)
    };
    Ok(Entry { place, request, fields })
}
