//! Whether a task lives: by its signs of life, and what the engine says where there are none.

use std::time::{Duration, Instant};

use vexp_api::batch::{Pace, TaskState};

use super::beats::{Beat, Over};

/// What is known of a task that was submitted.
#[derive(Clone, Debug)]
pub(super) struct Out {
    /// Since when it is known here.
    pub(super) since: Instant,
    pub(super) beat: Option<Beat>,
    /// When its last sign of life was seen.
    pub(super) moved: Instant,
    /// What the engine has said last.
    pub(super) said: Option<TaskState>,
    /// Since when it says that.
    pub(super) said_since: Instant,
    /// How often in a row the engine has answered and not named it.
    pub(super) absent: u32,
    /// Whether it has ended.
    pub(super) over: bool,
}

/// What has become of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits or runs, or nothing can be concluded yet.
    Lives,
    /// It has said how it has ended.
    Ended(Over),
    /// It was to be started again: what it had claimed is free.
    Requeued,
    /// It has died. The node is named where it may be to blame.
    Died { why: String, blamed: Option<String> },
    /// It never began, or gives no sign of life though its engine says that it runs: it is cancelled.
    Stuck { why: String, blamed: Option<String> },
}

impl Out {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            beat: None,
            moved: now,
            said: None,
            said_since: now,
            absent: 0,
            over: false,
        }
    }

    /// Takes note of a sign of life. One that is the same as before is none.
    pub(super) fn beats(&mut self, beat: &Beat, now: Instant) {
        if self.beat.as_ref() != Some(beat) {
            self.over &= beat.over.is_some();
            self.beat = Some(beat.clone());
            self.moved = now;
        }
    }

    /// Takes note of an answer of the engine, in which it may be missing.
    pub(super) fn answered(&mut self, said: Option<TaskState>, now: Instant) {
        self.absent = if said.is_none() { self.absent + 1 } else { 0 };
        let kind = |said: &Option<TaskState>| said.as_ref().map(std::mem::discriminant);
        if kind(&said) != kind(&self.said) {
            self.said_since = now;
        }
        self.said = said;
    }

    /// Whether the engine holds it back.
    pub(super) fn waits(&self) -> bool {
        matches!(self.said, Some(TaskState::Waiting(_)))
            || (self.beat.is_none() && !matches!(self.said, Some(TaskState::Running(_))))
    }

    pub(super) fn judge(&self, pace: &Pace, now: Instant) -> Fate {
        if let Some(over) = self.beat.as_ref().and_then(|beat| beat.over.clone()) {
            return Fate::Ended(over);
        }
        let still = now.saturating_duration_since(self.moved);
        let said_for = now.saturating_duration_since(self.said_since);
        match (&self.beat, &self.said) {
            (None, said) => self.not_begun(said.as_ref(), said_for, pace, now),
            (Some(_), _) if still < pace.silence => Fate::Lives,
            (Some(_), Some(TaskState::Waiting(_))) => Fate::Requeued,
            (Some(beat), Some(TaskState::Over { state, node })) if said_for >= pace.late => {
                let node = node.clone().unwrap_or_else(|| beat.node.clone());
                Fate::Died {
                    why: format!("{state} on node {node}"),
                    blamed: blames(state).then_some(node),
                }
            }
            (Some(beat), None) if self.absent >= 2 => Fate::Died {
                why: format!(
                    "no sign of life from node {} for {}, and the engine does not know the task any more",
                    beat.node,
                    seconds(still)
                ),
                blamed: Some(beat.node.clone()),
            },
            (Some(beat), Some(TaskState::Running(_))) if still >= pace.hung => Fate::Stuck {
                why: format!(
                    "no sign of life from node {} for {}, though the engine says that the task runs",
                    beat.node,
                    seconds(still)
                ),
                blamed: Some(beat.node.clone()),
            },
            (Some(_), _) => Fate::Lives,
        }
    }

    fn not_begun(
        &self,
        said: Option<&TaskState>,
        said_for: Duration,
        pace: &Pace,
        now: Instant,
    ) -> Fate {
        let known_for = now.saturating_duration_since(self.since);
        match said {
            Some(TaskState::Waiting(_)) => Fate::Lives,
            Some(TaskState::Over { state, node }) if said_for >= pace.late => Fate::Died {
                why: format!("{state} before it had begun"),
                blamed: node.clone().filter(|_| blames(state)),
            },
            Some(TaskState::Running(node)) if said_for >= pace.first.max(pace.silence) => {
                Fate::Stuck {
                    why: format!(
                        "no sign of life from node {node} for {}, though the engine says that the task runs",
                        seconds(said_for)
                    ),
                    blamed: Some(node.clone()),
                }
            }
            None if self.absent >= 1 && known_for >= pace.first => Fate::Stuck {
                why: format!(
                    "submitted, and for {} neither a sign of life nor a word of the engine",
                    seconds(known_for)
                ),
                blamed: None,
            },
            _ => Fate::Lives,
        }
    }
}

/// Whether a node may be to blame for such an end. Limits and people are not the node's fault.
fn blames(state: &str) -> bool {
    let state = state.to_ascii_uppercase();
    let others = ["CANCEL", "TIMEOUT", "PREEMPT", "DEADLINE", "REVOKED"];
    !others.iter().any(|word| state.contains(word))
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vexp_api::batch::JobId;

    fn beat(count: u64, over: Option<Over>) -> Beat {
        Beat {
            job: JobId::parse("7").unwrap(),
            restart: 0,
            count,
            node: "n1".to_owned(),
            over,
        }
    }

    fn over(state: &str) -> Option<TaskState> {
        Some(TaskState::Over {
            state: state.to_owned(),
            node: Some("n1".to_owned()),
        })
    }

    const LONG: Duration = Duration::from_secs(3600);

    fn fate(out: &Out, after: Duration) -> Fate {
        out.judge(&Pace::default(), out.since + after)
    }

    fn died(fate: &Fate) -> (&str, Option<&str>) {
        match fate {
            Fate::Died { why, blamed } | Fate::Stuck { why, blamed } => (why, blamed.as_deref()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_task_that_beats_lives_whatever_the_engine_says() {
        let start = Instant::now();
        let mut out = Out::new(start);
        for said in [
            None,
            over("FAILED"),
            Some(TaskState::Waiting(String::new())),
        ] {
            out.answered(said.clone(), start);
            out.answered(said, start);
            out.beats(&beat(9, None), start + LONG);
            assert_eq!(fate(&out, LONG + Duration::from_secs(10)), Fate::Lives);
        }
    }

    #[test]
    fn silence_alone_is_no_end_and_an_empty_answer_is_none_either() {
        let start = Instant::now();
        let mut out = Out::new(start);
        out.beats(&beat(1, None), start);
        // The engine is away: nothing is concluded.
        assert_eq!(fate(&out, LONG), Fate::Lives);
        out.answered(None, start);
        assert_eq!(fate(&out, LONG), Fate::Lives);
        out.answered(None, start);
        assert_eq!(fate(&out, Duration::from_secs(100)), Fate::Lives);
        let fate_then = fate(&out, LONG);
        let (why, blamed) = died(&fate_then);
        assert!(why.contains("does not know the task"), "{why}");
        assert_eq!(blamed, Some("n1"));
        // The same counter is no sign of life; another is.
        out.beats(&beat(1, None), start + LONG);
        assert_eq!(out.moved, start);
        out.beats(&beat(2, None), start + LONG);
        assert_eq!(fate(&out, LONG), Fate::Lives);
    }

    #[test]
    fn a_limit_is_not_the_node_s_fault() {
        let start = Instant::now();
        let mut out = Out::new(start);
        out.beats(&beat(1, None), start);
        for (state, blamed) in [
            ("NODE_FAIL", Some("n1")),
            ("FAILED", Some("n1")),
            ("TIMEOUT", None),
            ("CANCELLED by 0", None),
            ("PREEMPTED", None),
        ] {
            out.answered(None, start);
            out.answered(over(state), start);
            assert_eq!(died(&fate(&out, LONG)).1, blamed, "{state}");
        }
        out.answered(Some(TaskState::Waiting("BeginTime".to_owned())), start);
        assert_eq!(fate(&out, LONG), Fate::Requeued);
        out.beats(&beat(2, Some(Over::Time)), start);
        assert_eq!(fate(&out, LONG), Fate::Ended(Over::Time));
    }

    #[test]
    fn a_task_that_waits_waits_for_ever_and_one_that_nobody_knows_does_not() {
        let start = Instant::now();
        let mut out = Out::new(start);
        out.answered(Some(TaskState::Waiting("Priority".to_owned())), start);
        assert_eq!(fate(&out, 100 * LONG), Fate::Lives);
        out.answered(None, start);
        let stuck = fate(&out, LONG);
        assert!(
            matches!(stuck, Fate::Stuck { blamed: None, .. }),
            "{stuck:?}"
        );
        out.answered(over("FAILED"), start);
        assert!(died(&fate(&out, LONG)).0.contains("before it had begun"));
        out.answered(Some(TaskState::Running("n2".to_owned())), start);
        assert_eq!(died(&fate(&out, LONG)).1, Some("n2"));
    }
}
