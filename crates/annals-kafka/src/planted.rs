//! Bugs that a simulation can plant, to show that its checks catch them. In a normal build there are none.

/// A bug in the decisions on claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// A higher offset acknowledges without a look at what lies before it.
    SkipGap,
    /// A report acknowledges whatever offset it names, also none and a lower one.
    TrustAnyOffset,
    /// Reports are matched by arrival and not by number.
    MatchByArrival,
    /// After an unknown outcome the same claim goes on.
    #[cfg(feature = "planted-bugs")]
    GoOnAfterUnknown,
    /// A tenure begins before the journal was read up to its claim.
    ServeBeforeRead,
    /// A tenure goes on after a newer claim, and after its release.
    KeepAppending,
    /// The record that is known is not compared when it is read again.
    FollowUnverified,
}

/// The bug that is planted, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted {
    #[cfg(feature = "planted-bugs")]
    bug: Option<PlantedBug>,
}

impl Planted {
    #[cfg(feature = "planted-bugs")]
    pub(crate) fn with(bug: Option<PlantedBug>) -> Self {
        Self { bug }
    }

    /// Whether it is this one.
    pub(crate) fn is(self, bug: PlantedBug) -> bool {
        #[cfg(feature = "planted-bugs")]
        return self.bug == Some(bug);
        #[cfg(not(feature = "planted-bugs"))]
        {
            let _ = bug;
            false
        }
    }
}
