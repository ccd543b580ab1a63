//! Data keys are rotated and the root key is exchanged while everything goes on.

use std::sync::Arc;
use std::time::Duration;

use super::host::SimRoot;
use super::world::World;

/// Who rotates waits no longer: its host may have ended on the way.
const PATIENCE: Duration = Duration::from_secs(120);

/// Somebody rotates the data keys, and at times the root key.
pub fn rotate(world: &Arc<World>) {
    let root_too = world.draw(|rng| rng.chance(5_000));
    let world = Arc::clone(world);
    world.clone().background(async move {
        rotate_data_keys(&world).await;
        // A copy of earlier opens with the root key of then.
        if root_too && !world.plan.faults.restores {
            rotate_root_key(&world).await;
        }
    });
}

async fn rotate_data_keys(world: &World) {
    let Some(broker) = world.some_broker() else { return };
    let quiet = |_| {};
    let done = match tokio::time::timeout(PATIENCE, broker.rotate_data_keys(&quiet)).await {
        Ok(Ok(report)) => {
            format!("{} is the data key, {} resealed", report.data_key, report.resealed)
        }
        Ok(Err(error)) => format!("the data keys can't be rotated: {}", error.code()),
        Err(_) => "the rotation of the data keys was cut off".to_owned(),
    };
    world.tell(&done);
}

async fn rotate_root_key(world: &World) {
    let Some(broker) = world.some_broker() else { return };
    let [now, before] = *world.root_keys.lock().unwrap();
    if now != before {
        // The one before isn't done with.
        return;
    }
    let next = SimRoot { no: Some(now + 1), open: Arc::clone(&world.root_keys) };
    *world.root_keys.lock().unwrap() = [now, now + 1];
    let done = tokio::time::timeout(PATIENCE, broker.rotate_root_key(&next)).await;
    // Whatever came of it shows in the store: from then on that one alone opens it.
    let rows = world.eye.data_keys().await.expect("the eye sees all");
    let by_next = rows.iter().all(|row| {
        let context_and_no = row.wrapped.len() - 2 * 32 - 1;
        row.wrapped[context_and_no] == now + 1
    });
    match (done, by_next) {
        (_, true) => {
            *world.root_keys.lock().unwrap() = [now + 1, now + 1];
            world.tell("the root key is another one");
        }
        (Ok(_), false) => *world.root_keys.lock().unwrap() = [now, now],
        // It may still come to it.
        (Err(_), false) => {}
    }
}
