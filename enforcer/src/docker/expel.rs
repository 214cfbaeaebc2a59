//! What is done to a container that steps outside or abuses: one network is taken away, it is paused, or it is
//! ended. Nothing is ever removed.

use std::time::Duration;

use bollard::{
    models::NetworkDisconnectRequest,
    query_parameters::{
        InspectContainerOptions, KillContainerOptionsBuilder, StopContainerOptionsBuilder,
    },
};
use tokio::time::timeout;

use super::{Engine, EngineError, convert};

/// Longest that one step may take: the engine waits for the last process to end.
const LIMIT: Duration = Duration::from_secs(15);

/// How long the first process of a container may take to end when it is asked, s.
const GRACE: i32 = 5;

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expelled {
    /// The engine did it.
    Done,
    /// There was nothing left to do.
    Gone,
}

impl Engine {
    /// Ends a container at once, by its full id.
    pub async fn kill(&self, container: &str) -> Result<Expelled, EngineError> {
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        let doing = "kill a container";
        let kill = timeout(LIMIT, self.docker.kill_container(container, Some(options))).await;
        let killed = kill
            .map_err(|_elapsed| EngineError::TimedOut { doing })?
            .map_err(EngineError::request(doing));
        match killed {
            Ok(()) => Ok(Expelled::Done),
            // It is gone, or does not run.
            Err(error) if matches!(error.status(), Some(404 | 409)) => Ok(Expelled::Gone),
            Err(error) => Err(error),
        }
    }

    /// Has a container end, by its full id: asked first, and then made to.
    pub async fn stop(&self, container: &str) -> Result<Expelled, EngineError> {
        let options = StopContainerOptionsBuilder::default().t(GRACE).build();
        let stop = self.docker.stop_container(container, Some(options));
        // 304: it does not run.
        settle("stop a container", stop, &[304, 404]).await
    }

    /// Freezes a container, by its full id.
    pub async fn pause(&self, container: &str) -> Result<Expelled, EngineError> {
        let pause = self.docker.pause_container(container);
        // It is paused already, or does not run: the engine's answer is the same.
        settle("pause a container", pause, &[404, 409]).await
    }

    /// Lets a container go on, by its full id.
    pub async fn unpause(&self, container: &str) -> Result<Expelled, EngineError> {
        let unpause = self.docker.unpause_container(container);
        settle("unpause a container", unpause, &[404, 409]).await
    }

    /// Takes a network away from a running container.
    pub async fn disconnect(
        &self,
        network: &str,
        container: &str,
    ) -> Result<Expelled, EngineError> {
        let request =
            NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        let doing = "disconnect a container";
        let disconnect = timeout(LIMIT, self.docker.disconnect_network(network, request)).await;
        let disconnected = disconnect
            .map_err(|_elapsed| EngineError::TimedOut { doing })?
            .map_err(EngineError::request(doing));
        match disconnected {
            Ok(()) => Ok(Expelled::Done),
            // It may have left by itself: the engine's error is the same as for a real failure.
            Err(_) if !self.is_on(network, container).await? => Ok(Expelled::Gone),
            Err(error) => Err(error),
        }
    }

    async fn is_on(&self, network: &str, container: &str) -> Result<bool, EngineError> {
        let doing = "inspect a container";
        let question = self.docker.inspect_container(container, None::<InspectContainerOptions>);
        let answer = timeout(LIMIT, question).await;
        let answer = answer
            .map_err(|_elapsed| EngineError::TimedOut { doing })?
            .map_err(EngineError::request(doing));
        match answer {
            Ok(answer) => Ok(convert::container(answer, None)
                .is_some_and(|found| found.running && found.networks.contains_key(network))),
            Err(error) if error.status() == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Waits for a step; these statuses say that there was nothing left to do.
async fn settle(
    doing: &'static str,
    step: impl Future<Output = Result<(), bollard::errors::Error>>,
    nothing: &[u16],
) -> Result<Expelled, EngineError> {
    let done = timeout(LIMIT, step).await.map_err(|_elapsed| EngineError::TimedOut { doing })?;
    match done.map_err(EngineError::request(doing)) {
        Ok(()) => Ok(Expelled::Done),
        Err(error) if error.status().is_some_and(|status| nothing.contains(&status)) => {
            Ok(Expelled::Gone)
        }
        Err(error) => Err(error),
    }
}
