//! The life of one process, as containerd sees it: every transition, and every call that is refused.

use crate::error::{Error, Result};
use crate::exit::Exit;

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Confined and loaded, waiting to be started.
    Created,
    /// Running.
    Running,
    /// Frozen with its container.
    Paused,
    /// Ended, not yet deleted.
    Stopped(Exit),
}

impl Phase {
    /// `Start`.
    ///
    /// # Errors
    /// Unless created.
    pub fn start(self, name: &str) -> Result<Phase> {
        match self {
            Phase::Created => Ok(Phase::Running),
            Phase::Running | Phase::Paused => Err(Error::State(format!("{name} was started already"))),
            Phase::Stopped(_) => Err(Error::State(format!("{name} has ended: delete it and create it anew"))),
        }
    }

    /// `Pause`.
    ///
    /// # Errors
    /// Unless running.
    pub fn pause(self, name: &str) -> Result<Phase> {
        match self {
            Phase::Running => Ok(Phase::Paused),
            Phase::Paused => Err(Error::State(format!("{name} is paused already"))),
            Phase::Created => {
                Err(Error::State(format!("{name} is not started: only a running container can be paused")))
            }
            Phase::Stopped(_) => {
                Err(Error::State(format!("{name} has ended: only a running container can be paused")))
            }
        }
    }

    /// `Resume`.
    ///
    /// # Errors
    /// Unless paused.
    pub fn resume(self, name: &str) -> Result<Phase> {
        match self {
            Phase::Paused => Ok(Phase::Running),
            _ => Err(Error::State(format!("{name} is not paused"))),
        }
    }

    /// May an exec be added?
    ///
    /// # Errors
    /// Unless running.
    pub fn exec(self, name: &str) -> Result<()> {
        match self {
            Phase::Running => Ok(()),
            Phase::Created => Err(Error::State(format!("{name} is not started: nothing can be run in it"))),
            Phase::Paused => Err(Error::State(format!("{name} is paused: resume it first"))),
            Phase::Stopped(_) => Err(Error::State(format!("{name} has ended: nothing can be run in it"))),
        }
    }

    /// May a signal be sent?
    ///
    /// # Errors
    /// Once it has ended: `NOT_FOUND`, which is what tells CRI that there is nothing left to stop.
    pub fn kill(self, name: &str) -> Result<()> {
        match self {
            Phase::Stopped(_) => Err(Error::NotFound(format!("{name} has ended already"))),
            _ => Ok(()),
        }
    }

    /// May it be deleted? One that was never started may: it is killed first.
    ///
    /// # Errors
    /// While it runs.
    pub fn delete(self, name: &str) -> Result<()> {
        match self {
            Phase::Created | Phase::Stopped(_) => Ok(()),
            Phase::Running | Phase::Paused => Err(Error::State(format!("{name} is running: kill it first"))),
        }
    }

    /// How it ended, if it did.
    pub fn exit(self) -> Option<Exit> {
        match self {
            Phase::Stopped(exit) => Some(exit),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Instant;

    const STOPPED: Phase = Phase::Stopped(Exit { status: 3, at: Instant { seconds: 1, nanos: 2 } });

    /// Every phase against every call: what follows, `None` for a refusal.
    #[test]
    fn every_transition_is_as_the_task_api_has_it() {
        use Phase::{Created, Paused, Running};
        let table: [(Phase, [Option<Phase>; 3], [bool; 2]); 4] = [
            // phase      start          pause         resume          kill  delete
            (Created, [Some(Running), None, None], [true, true]),
            (Running, [None, Some(Paused), None], [true, false]),
            (Paused, [None, None, Some(Running)], [true, false]),
            (STOPPED, [None, None, None], [false, true]),
        ];
        for (phase, [start, pause, resume], [kill, delete]) in table {
            assert_eq!(phase.start("x").ok(), start, "{phase:?} start");
            assert_eq!(phase.pause("x").ok(), pause, "{phase:?} pause");
            assert_eq!(phase.resume("x").ok(), resume, "{phase:?} resume");
            assert_eq!(phase.kill("x").is_ok(), kill, "{phase:?} kill");
            assert_eq!(phase.delete("x").is_ok(), delete, "{phase:?} delete");
            assert_eq!(phase.exec("x").is_ok(), phase == Running, "{phase:?} exec");
            assert_eq!(phase.exit().is_some(), phase == STOPPED);
        }
    }

    #[test]
    fn signalling_an_ended_process_is_not_found_and_the_rest_is_the_wrong_moment() {
        assert!(matches!(STOPPED.kill("x"), Err(Error::NotFound(_))));
        assert!(matches!(STOPPED.start("x"), Err(Error::State(_))));
        assert!(matches!(Phase::Running.delete("x"), Err(Error::State(_))));
    }
}
