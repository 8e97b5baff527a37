//! The facade's context: what the core knows of it, and the importers its command line has.

use std::ops::Deref;
#[cfg(feature = "cli")]
use std::sync::Arc;

use annals_core::{Decider, Projection, Saga};

use crate::app::App;
use crate::error::OpenError;
#[cfg(feature = "cli")]
use crate::import::Importer;
use crate::open::{LogUrl, Options};

/// Begins a bounded context called `name`: lower case, `-` between words.
#[must_use]
pub fn context(name: &str) -> Context {
    Context {
        core: annals_core::context(name),
        #[cfg(feature = "cli")]
        importers: Vec::new(),
    }
}

/// A bounded context: a named set of deciders, projections and sagas that share one log.
///
/// Mistakes (two deciders that store events under one name, a bad name) are reported by [`Context::open`].
#[derive(Clone)]
pub struct Context {
    core: annals_core::Context,
    #[cfg(feature = "cli")]
    importers: Vec<Arc<dyn Importer>>,
}

impl Context {
    /// Adds a decider.
    #[must_use]
    pub fn decider<D: Decider>(mut self) -> Self {
        self.core = self.core.decider::<D>();
        self
    }

    /// Adds a projection.
    #[must_use]
    pub fn projection<P: Projection>(mut self) -> Self {
        self.core = self.core.projection::<P>();
        self
    }

    /// Adds a saga.
    #[must_use]
    pub fn saga<S: Saga>(mut self) -> Self {
        self.core = self.core.saga::<S>();
        self
    }

    /// Adds an importer of a format of the context's own to `import`.
    #[cfg(feature = "cli")]
    #[must_use]
    pub fn importer(mut self, importer: impl Importer) -> Self {
        self.importers.push(Arc::new(importer));
        self
    }

    /// The importers that were added.
    #[cfg(feature = "cli")]
    #[must_use]
    pub fn importers(&self) -> &[Arc<dyn Importer>] {
        &self.importers
    }

    /// What the core knows of the context.
    #[must_use]
    pub fn core(&self) -> &annals_core::Context {
        &self.core
    }

    /// Opens the context on the log at `url` (`memory:`, `file:./directory`), makes the log where there is none,
    /// and starts sagas and views. Views of a file log are kept in `views.sqlite` in its directory.
    pub async fn open(self, url: &str) -> Result<App, OpenError> {
        self.open_with(url, Options::default()).await
    }

    /// Like [`Context::open`], with a clock, bounds or a place for views of the caller's choice.
    pub async fn open_with(self, url: &str, options: Options) -> Result<App, OpenError> {
        let url = url.parse()?;
        self.open_at(&url, options).await
    }

    /// Like [`Context::open_with`], for an address that was read already.
    pub async fn open_at(self, url: &LogUrl, options: Options) -> Result<App, OpenError> {
        let url = url.clone();
        crate::app::blocking(move || App::open(self.core, &url, options)).await
    }
}

impl Deref for Context {
    type Target = annals_core::Context;

    fn deref(&self) -> &annals_core::Context {
        &self.core
    }
}
