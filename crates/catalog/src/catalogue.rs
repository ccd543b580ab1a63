//! All services that there are: the shipped files (compiled in) and a user's own.
//!
//! Surprise: a shipped file is parsed when it is asked for, and once; asking for one service reads
//! no other. A user's own files are read at once, since their mistakes must be told; what is wrong
//! in one takes its own service away, the shipped one of that name too, and no other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::read::{ReadError, read};
use crate::service::{Origin, Service};
use crate::walk::{self, nearest};

/// The shipped files, `(id, text)`, embedded by a build-time list; one service's text is parsed
/// only when it is asked for.
pub struct Catalogue {
    own: BTreeMap<String, Arc<Service>>,
    shipped: Vec<OnceLock<Option<Arc<Service>>>>,
    /// By the id of the service that can't be used.
    problems: BTreeMap<String, Vec<ReadError>>,
}

/// Id and text of each file in `services/`, sorted by id.
const SHIPPED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

impl Catalogue {
    /// The shipped services alone.
    pub fn shipped() -> Self {
        let shipped = SHIPPED.iter().map(|_| OnceLock::new()).collect();
        Self { own: BTreeMap::new(), shipped, problems: BTreeMap::new() }
    }

    /// The shipped services and a user's own, given as `(path, text)`: whoever calls has read the
    /// files and checked who owns them. All problems are reported at once.
    pub fn with_own<'a>(
        files: impl IntoIterator<Item = (&'a Path, &'a str)>,
    ) -> Result<Self, Vec<ReadError>> {
        let files = files.into_iter().map(|(path, text)| (path, Ok(text)));
        let catalogue = Self::with_own_or_problems(files);
        match catalogue.problems() {
            none if none.is_empty() => Ok(catalogue),
            problems => Err(problems),
        }
    }

    /// As [`Self::with_own`], but a file that is wrong, or that the caller refuses (with the reason
    /// in place of its text), takes only its own service away: the one whose id it gives or, where
    /// that can't be read, the one that it is named after. It never falls back to the shipped file
    /// of that id, which may send secrets elsewhere.
    pub fn with_own_or_problems<'a>(
        files: impl IntoIterator<Item = (&'a Path, Result<&'a str, ReadError>)>,
    ) -> Self {
        let mut catalogue = Self::shipped();
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for (path, text) in files {
            let file = path.display().to_string();
            let id = text.as_ref().ok().and_then(|text| walk::id(text)).or_else(|| stem(path));
            match text.map_err(|refused| vec![refused]).and_then(|text| read(&file, text)) {
                Err(problems) => {
                    catalogue.problems.entry(id.unwrap_or(file)).or_default().extend(problems)
                }
                Ok(service) => match names.insert(service.id.clone(), file.clone()) {
                    Some(other) => {
                        let problem = twice(file, "id", &service.id, &other);
                        catalogue.problems.entry(service.id).or_default().push(problem);
                    }
                    None => catalogue.add_own(path, service),
                },
            }
        }
        catalogue.find_twice_issuers(&names);
        let Self { own, problems, .. } = &mut catalogue;
        own.retain(|id, _| !problems.contains_key(id));
        catalogue
    }

    /// One service; `None` also where a user's own file of that id is wrong.
    pub fn service(&self, id: &str) -> Option<Arc<Service>> {
        if self.problems.contains_key(id) {
            return None;
        }
        self.own.get(id).cloned().or_else(|| self.shipped_service(id))
    }

    /// Why a service can't be used: what is wrong in a user's own file of that id. Empty when
    /// nothing is.
    pub fn problems_of(&self, id: &str) -> &[ReadError] {
        self.problems.get(id).map_or(&[], Vec::as_slice)
    }

    /// All that is wrong in all of a user's own files, sorted by file and line.
    pub fn problems(&self) -> Vec<ReadError> {
        let mut all: Vec<ReadError> = self.problems.values().flatten().cloned().collect();
        all.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        // What two files are wrong about together stands with both.
        all.dedup();
        all
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
    /// Own files among them can't be used.
    fn find_twice_issuers(&mut self, files: &BTreeMap<String, String>) {
        if self.own.values().all(|service| service.raw.issuer.is_none()) {
            return;
        }
        let mut issuers: BTreeMap<String, String> = BTreeMap::new();
        let services: Vec<_> = self.ids().iter().filter_map(|id| self.service(id)).collect();
        for service in services {
            let Some(issuer) = service.raw.issuer.clone() else {
                continue;
            };
            if let Some(other) = issuers.insert(issuer.clone(), service.id.clone()) {
                let own = [&service.id, &other].into_iter();
                let own: Vec<_> = own.filter_map(|id| Some((id, files.get(id)?))).collect();
                let file = own.first().map(|(_, file)| (*file).clone()).unwrap_or_default();
                let problem = twice(file, "issuer", &issuer, &other);
                for (id, _) in own {
                    self.problems.entry(id.clone()).or_default().push(problem.clone());
                }
            }
        }
    }
}

/// The id of a service file that can't be read, by its name.
fn stem(path: &Path) -> Option<String> {
    Some(path.file_stem()?.to_str()?.to_owned())
}

fn twice(file: String, what: &str, value: &str, other: &str) -> ReadError {
    ReadError {
        file,
        line: 1,
        problem: format!("{what} {value:?} is also that of {other}"),
        fix: "give each service its own".into(),
    }
}
