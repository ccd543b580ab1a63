//! All services that there are: the shipped files (compiled in) and a user's own.
//!
//! Surprise: a shipped file is parsed when it is asked for, and once; asking for one service reads
//! no other. A user's own files are read at once, since their mistakes must be told.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::read::{ReadError, read};
use crate::service::{Origin, Service};
use crate::walk::nearest;

/// The shipped files, `(id, text)`, embedded by a build-time list; one service's text is parsed
/// only when it is asked for.
pub struct Catalogue {
    own: BTreeMap<String, Arc<Service>>,
    shipped: Vec<OnceLock<Option<Arc<Service>>>>,
}

/// Id and text of each file in `services/`, sorted by id.
const SHIPPED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

impl Catalogue {
    /// The shipped services alone.
    pub fn shipped() -> Self {
        let shipped = SHIPPED.iter().map(|_| OnceLock::new()).collect();
        Self { own: BTreeMap::new(), shipped }
    }

    /// The shipped services and a user's own, given as `(path, text)`: whoever calls has read the
    /// files and checked who owns them. All problems are reported at once.
    pub fn with_own<'a>(
        files: impl IntoIterator<Item = (&'a Path, &'a str)>,
    ) -> Result<Self, Vec<ReadError>> {
        let mut catalogue = Self::shipped();
        let mut errors = Vec::new();
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for (path, text) in files {
            let file = path.display().to_string();
            match read(&file, text) {
                Err(problems) => errors.extend(problems),
                Ok(service) => match names.insert(service.id.clone(), file.clone()) {
                    Some(other) => errors.push(twice(file, "id", &service.id, &other)),
                    None => catalogue.add_own(path, service),
                },
            }
        }
        errors.extend(catalogue.twice_issuers(&names));
        match errors.is_empty() {
            true => Ok(catalogue),
            false => Err(errors),
        }
    }

    /// One service.
    pub fn service(&self, id: &str) -> Option<Arc<Service>> {
        self.own.get(id).cloned().or_else(|| self.shipped_service(id))
    }

    /// All ids, sorted.
    pub fn ids(&self) -> Vec<String> {
        let shipped = SHIPPED.iter().map(|(id, _)| (*id).to_owned());
        let mut ids: Vec<String> = shipped.chain(self.own.keys().cloned()).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// Ids near to a mistyped one, nearest first, at most three.
    pub fn nearest(&self, id: &str) -> Vec<String> {
        let ids = self.ids();
        let lower = id.to_ascii_lowercase();
        nearest(&lower, ids.iter().map(String::as_str)).into_iter().map(str::to_owned).collect()
    }

    /// The text of a shipped file: what a user's own file may start from.
    pub fn shipped_text(id: &str) -> Option<&'static str> {
        SHIPPED.iter().find(|(shipped, _)| *shipped == id).map(|(_, text)| *text)
    }

    fn shipped_service(&self, id: &str) -> Option<Arc<Service>> {
        let at = SHIPPED.binary_search_by(|(shipped, _)| (*shipped).cmp(id)).ok()?;
        let parse = || {
            // A shipped file that can't be read fails the tests, never a user.
            let service = read(id, SHIPPED[at].1).ok()?;
            Some(Arc::new(Service { origin: Origin::Shipped, ..service }))
        };
        self.shipped.get(at)?.get_or_init(parse).clone()
    }

    fn add_own(&mut self, path: &Path, service: Service) {
        let shipped = SHIPPED.iter().any(|(id, _)| *id == service.id);
        let origin = match shipped {
            true => Origin::Overrides(path.into()),
            false => Origin::Own(path.into()),
        };
        self.own.insert(service.id.clone(), Arc::new(Service { origin, ..service }));
    }

    /// Two services of one issuer: an answer of one could be taken for the other's (RFC 9207 §2.4).
    fn twice_issuers(&self, files: &BTreeMap<String, String>) -> Vec<ReadError> {
        if self.own.values().all(|service| service.raw.issuer.is_none()) {
            return Vec::new();
        }
        let mut errors = Vec::new();
        let mut issuers: BTreeMap<String, String> = BTreeMap::new();
        for service in self.ids().into_iter().filter_map(|id| self.service(&id)) {
            let Some(issuer) = service.raw.issuer.clone() else {
                continue;
            };
            if let Some(other) = issuers.insert(issuer.clone(), service.id.clone()) {
                let file = [&service.id, &other].into_iter().find_map(|id| files.get(id));
                let file = file.cloned().unwrap_or_default();
                errors.push(twice(file, "issuer", &issuer, &other));
            }
        }
        errors
    }
}

fn twice(file: String, what: &str, value: &str, other: &str) -> ReadError {
    ReadError {
        file,
        line: 1,
        problem: format!("{what} {value:?} is also that of {other}"),
        fix: "give each service its own".into(),
    }
}
