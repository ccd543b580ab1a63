//! All services that there are: the shipped files (compiled in) and a user's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::read::ReadError;
use crate::service::Service;

/// The shipped files, `(id, text)`, embedded by a build-time list; one service's text is parsed only
/// when it is asked for.
pub struct Catalogue {
    own: BTreeMap<String, Arc<Service>>,
}

impl Catalogue {
    /// The shipped services alone.
    pub fn shipped() -> Self {
        Self { own: BTreeMap::new() }
    }

    /// The shipped services and a user's own, given as `(path, text)`: whoever calls has read the
    /// files and checked who owns them. All problems are reported at once.
    pub fn with_own<'a>(
        files: impl IntoIterator<Item = (&'a Path, &'a str)>,
    ) -> Result<Self, Vec<ReadError>> {
        let _ = files.into_iter().count();
        todo!()
    }

    /// One service.
    pub fn service(&self, id: &str) -> Option<Arc<Service>> {
        self.own.get(id).cloned()
    }

    /// All ids, sorted.
    pub fn ids(&self) -> Vec<String> {
        self.own.keys().cloned().collect()
    }

    /// Ids near to a mistyped one, nearest first, at most three.
    pub fn nearest(&self, id: &str) -> Vec<String> {
        let _ = id;
        Vec::new()
    }
}
