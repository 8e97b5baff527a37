//! Which build of a view is read, which is folded, and which is next: decided from what a store holds.

use crate::store::{Build, Stage, StoreError, ViewId, ViewStore};

/// What a store holds of one view, as a projection of one revision sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builds {
    /// The build that is read.
    pub live: Option<Build>,
    /// The build to fold, of the projection's revision: the one that is read, if it is of that revision.
    pub own: ViewId,
    /// A rebuild beside the own build, which was broken off.
    pub broken_off: Option<ViewId>,
    /// All builds of the view, ascending.
    pub all: Vec<Build>,
}

impl Builds {
    /// Looks at what `store` holds of the view `name`.
    pub fn of(store: &dyn ViewStore, name: &str, revision: u32) -> Result<Self, StoreError> {
        let all: Vec<Build> = store.builds()?.into_iter().filter(|build| build.view.name == name).collect();
        Ok(Self::plan(all, name, revision))
    }

    fn plan(all: Vec<Build>, name: &str, revision: u32) -> Self {
        let live = all.iter().find(|build| build.stage == Stage::Live).cloned();
        let last = |stage| {
            let builds = all.iter().rev().filter(|build| build.view.revision == revision);
            builds
                .map(|build| (build.stage, &build.view))
                .find(|(found, _)| *found == stage)
                .map(|(_, view)| view)
        };
        let building = |build: &&Build| build.stage == Stage::Building && build.view.revision == revision;
        let first = all.iter().find(building).map(|build| &build.view);
        let (own, broken_off) = match (&live, first) {
            // None was ever read: the first goes on, and a rebuild that was begun beside it, too.
            (None, Some(own)) => (own.clone(), last(Stage::Building).filter(|view| *view != own).cloned()),
            (Some(live), _) if live.view.revision == revision => {
                let newer = last(Stage::Building).filter(|view| view.build > live.view.build);
                (live.view.clone(), newer.cloned())
            }
            // A kept build of this revision is worth going on with: the program went back to it.
            _ => {
                let own = last(Stage::Building).or_else(|| last(Stage::Kept)).cloned();
                (own.unwrap_or_else(|| ViewId::first(name, revision)), None)
            }
        };
        Self { live, own, broken_off, all }
    }

    /// A build of the own revision that there is none of yet; the own build counts as there before it was saved.
    #[must_use]
    pub fn next(&self) -> ViewId {
        let builds = self.all.iter().map(|build| &build.view).chain([&self.own]);
        let taken = builds.filter(|view| view.revision == self.own.revision).map(|view| view.build);
        ViewId { build: taken.max().unwrap_or(0).saturating_add(1), ..self.own.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Layout;

    fn plan(builds: &[(u32, u32, Stage)], revision: u32) -> (ViewId, Option<ViewId>, ViewId) {
        let build = |&(revision, build, stage): &(u32, u32, Stage)| Build {
            view: view(revision, build),
            stage,
            layout: Layout::default(),
        };
        let builds = Builds::plan(builds.iter().map(build).collect(), "v", revision);
        (builds.own.clone(), builds.broken_off.clone(), builds.next())
    }

    fn view(revision: u32, build: u32) -> ViewId {
        ViewId { build, ..ViewId::first("v", revision) }
    }

    #[test]
    fn the_live_build_of_the_revision_goes_on() {
        use Stage::{Building, Kept, Live};
        assert_eq!(plan(&[], 2), (view(2, 1), None, view(2, 2)));
        assert_eq!(plan(&[(2, 1, Building)], 2), (view(2, 1), None, view(2, 2)));
        assert_eq!(plan(&[(2, 1, Live)], 2), (view(2, 1), None, view(2, 2)));
        assert_eq!(plan(&[(2, 1, Kept), (2, 2, Live)], 2), (view(2, 2), None, view(2, 3)));
        // None was ever read.
        assert_eq!(
            plan(&[(2, 1, Building), (2, 2, Building)], 2),
            (view(2, 1), Some(view(2, 2)), view(2, 3))
        );
        assert_eq!(plan(&[(1, 1, Building), (2, 3, Building)], 2), (view(2, 3), None, view(2, 4)));
        // A rebuild that was broken off, and one that lost.
        assert_eq!(plan(&[(2, 1, Live), (2, 2, Building)], 2), (view(2, 1), Some(view(2, 2)), view(2, 3)));
        assert_eq!(plan(&[(2, 1, Building), (2, 2, Live)], 2), (view(2, 2), None, view(2, 3)));
    }

    #[test]
    fn another_revision_is_built_beside_the_live_one() {
        use Stage::{Building, Kept, Live};
        assert_eq!(plan(&[(1, 1, Live)], 2), (view(2, 1), None, view(2, 2)));
        assert_eq!(plan(&[(1, 1, Live), (2, 1, Building)], 2), (view(2, 1), None, view(2, 2)));
        assert_eq!(plan(&[(1, 1, Live), (1, 2, Building)], 2), (view(2, 1), None, view(2, 2)));
        // Back to the revision before, which was kept.
        assert_eq!(plan(&[(1, 3, Kept), (2, 1, Live)], 1), (view(1, 3), None, view(1, 4)));
    }
}
