//! The part of the facade crate that the derives and their users name.
//!
//! The tests of the derives depend on this one under the facade's name, so that they build in seconds and do not
//! wait for logs and servers. The facade itself is used with the derives by the reference contexts in `apps`.

pub use annals_core::{Command, Decider, Event, Events, Projection, Refusal, Saga};
pub use annals_macros::{Command, Event, Events, Refusal};

#[doc(hidden)]
pub use annals_core as __private;
