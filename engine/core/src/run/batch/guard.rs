//! One dispatcher a run, also where two login nodes see its folder: flock(2) is not shared between all hosts.

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use vexp_api::batch::Pace;

use super::super::dispatch::now_rfc3339;
use super::super::files;
use super::{BatchError, beats};

/// A dispatcher's sign of life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Attends {
    host: String,
    pid: u32,
    /// When it began, by its own clock: tells it from one before with the same process number.
    began: String,
    count: u64,
}

impl Attends {
    fn is_same(&self, other: &Self) -> bool {
        (&self.host, self.pid, &self.began) == (&other.host, other.pid, &other.began)
    }
}

/// The right to submit tasks of a run, as long as it beats.
pub(super) struct Guard {
    path: PathBuf,
    own: Attends,
    pace: Pace,
    last: Instant,
}

impl Guard {
    /// Takes it, if nobody has it. Whoever holds the run's lock on this host knows that no other process here has.
    pub(super) async fn take(path: PathBuf, host: &str, pace: Pace) -> Result<Self, BatchError> {
        let guard = Self {
            own: Attends {
                host: host.to_owned(),
                pid: std::process::id(),
                began: now_rfc3339(),
                count: 0,
            },
            path,
            pace,
            last: Instant::now(),
        };
        let before = guard.there();
        if let Some(before) = before.clone().filter(|one| one.host != host) {
            // Files of another host may be seen late.
            tokio::time::sleep(4 * pace.beat + pace.late).await;
            if let Some(now) = guard.there().filter(|now| *now != before) {
                return Err(attended(&now));
            }
        }
        beats::write(&guard.path, &guard.own)?;
        if before.is_some() {
            tokio::time::sleep(pace.beat).await;
            guard.holds()?;
        }
        Ok(guard)
    }

    fn there(&self) -> Option<Attends> {
        files::read_json(&self.path).ok()
    }

    /// Whether it is still ours.
    fn holds(&self) -> Result<(), BatchError> {
        match self.there() {
            Some(other) if !other.is_same(&self.own) => Err(attended(&other)),
            _ => Ok(()),
        }
    }

    /// Gives a sign of life, if it is time.
    ///
    /// # Errors
    /// Another one has taken it.
    pub(super) fn beat(&mut self) -> Result<(), BatchError> {
        if self.last.elapsed() < self.pace.beat {
            return Ok(());
        }
        self.holds()?;
        self.own.count += 1;
        self.last = Instant::now();
        // A full disk ends no run that goes on elsewhere: it shows at what must be written.
        let _ = beats::write(&self.path, &self.own);
        Ok(())
    }
}

fn attended(other: &Attends) -> BatchError {
    BatchError::Attended {
        host: other.host.clone(),
        pid: other.pid,
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.there().is_some_and(|there| there.is_same(&self.own)) {
            // One that stays is seen not to beat.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn pace() -> Pace {
        Pace {
            beat: Duration::from_millis(30),
            late: Duration::from_millis(30),
            ..Pace::default()
        }
    }

    #[tokio::test]
    async fn a_second_login_node_is_refused_as_long_as_the_first_beats() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dispatcher");
        let mut first = Guard::take(path.clone(), "login1", pace()).await.unwrap();
        let beating = async {
            loop {
                first.beat().unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let refused = tokio::select! {
            second = Guard::take(path.clone(), "login2", pace()) => second.err().unwrap(),
            () = beating => unreachable!("it beats for ever"),
        };
        let said = format!("process {} on login1", std::process::id());
        assert!(refused.to_string().contains(&said), "{refused}");
        // It stands still now, as one that was killed.
        let mut second = Guard::take(path.clone(), "login2", pace()).await.unwrap();
        tokio::time::sleep(pace().beat).await;
        let lost = first.beat().unwrap_err().to_string();
        assert!(lost.contains("login2"), "{lost}");
        drop(first);
        second.beat().unwrap();
        drop(second);
        assert!(!path.exists());
    }
}
