//! A host's gate: all of its tasks stand behind it. Shut for good, they are gone (a crash: nothing
//! of them runs again); shut for a while, they stand still where they are (a paused process).

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use indicia_broker::ports::Task;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Open,
    Frozen,
    Dead,
}

/// Of one life of one host.
pub struct Gate(Mutex<(Standing, Vec<Waker>)>);

impl Gate {
    pub fn open() -> Arc<Self> {
        Arc::new(Self(Mutex::new((Standing::Open, Vec::new()))))
    }

    pub fn standing(&self) -> Standing {
        self.0.lock().unwrap().0
    }

    /// From dead there is no way back.
    pub fn set(&self, to: Standing) {
        let mut state = self.0.lock().unwrap();
        if state.0 != Standing::Dead {
            state.0 = to;
        }
        let waiting = std::mem::take(&mut state.1);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Starts a task behind this gate; a panic of it is told.
    pub fn spawn(self: &Arc<Self>, task: Task, panicked: Arc<dyn Fn(String) + Send + Sync>) {
        let gated = Gated { gate: Arc::clone(self), task: Some(task), panicked };
        #[expect(clippy::disallowed_methods, reason = "this is where Spawn ends")]
        drop(tokio::spawn(gated));
    }
}

struct Gated {
    gate: Arc<Gate>,
    task: Option<Task>,
    panicked: Arc<dyn Fn(String) + Send + Sync>,
}

impl Future for Gated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.gate.0.lock().unwrap();
        match state.0 {
            Standing::Dead => {
                drop(state);
                self.task = None;
                return Poll::Ready(());
            }
            Standing::Frozen => {
                state.1.push(cx.waker().clone());
                return Poll::Pending;
            }
            Standing::Open => drop(state),
        }
        let Some(task) = self.task.as_mut() else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(Poll::Pending) if self.gate.standing() == Standing::Dead => {
                self.task = None;
                Poll::Ready(())
            }
            Ok(polled) => polled,
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|t| (*t).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                (self.panicked)(text.unwrap_or_default());
                self.task = None;
                Poll::Ready(())
            }
        }
    }
}
