//! Starts tasks on tokio, and knows how many are open, so that a process can wait for them: none
//! exits with a spend of its own open.

use std::sync::Arc;

use indicia_broker::ports::{Spawn, Task};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Tasks on a tokio runtime. Clones share the count.
#[derive(Clone, Debug)]
pub struct TokioSpawn {
    runtime: Handle,
    open: Arc<watch::Sender<usize>>,
}

impl TokioSpawn {
    /// On the runtime that `runtime` names ([`Handle::current`] inside of one).
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, open: Arc::new(watch::Sender::new(0)) }
    }

    /// Tasks started and not yet over.
    pub fn open(&self) -> usize {
        *self.open.borrow()
    }

    /// Returns when no task is open, those that tasks started meanwhile included. Bounded by what
    /// bounds the tasks: the transport's time limit.
    pub async fn drain(&self) {
        // The sender is alive as long as `self` is, so waiting can't fail.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

impl Spawn for TokioSpawn {
    #[expect(clippy::disallowed_methods, reason = "the one place that starts tasks")]
    fn spawn(&self, task: Task) {
        self.open.send_modify(|open| *open += 1);
        let counted = Counted(Arc::clone(&self.open));
        self.runtime.spawn(async move {
            // Moved in, so that it counts down after a panic and at a shutdown too.
            let _counted = counted;
            task.await;
        });
    }
}

/// Counts one task as over when dropped.
struct Counted(Arc<watch::Sender<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}
