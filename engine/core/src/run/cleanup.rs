//! One LIFO stack of things to undo. A failed step never stops the rest.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

type Step = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send>;

/// Steps that undo what was done, run in reverse order.
#[derive(Default)]
pub struct Cleanup {
    steps: Vec<(String, Duration, Step)>,
}

impl Cleanup {
    /// An empty stack.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step with a name for messages and a deadline of its own.
    pub fn push<F, R>(&mut self, name: impl Into<String>, deadline: Duration, step: F)
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.steps
            .push((name.into(), deadline, Box::new(move || Box::pin(step()))));
    }

    /// Runs all steps, the last first. Returns what failed, each with its step's name.
    pub async fn run(mut self) -> Vec<String> {
        let mut failures = Vec::new();
        while let Some((name, deadline, step)) = self.steps.pop() {
            match tokio::time::timeout(deadline, step()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failures.push(format!("{name}: {error}")),
                Err(_) => {
                    failures.push(format!("{name}: not done within {} s", deadline.as_secs()))
                }
            }
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn goes_on_after_failures_in_reverse_order() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut cleanup = Cleanup::new();
        for n in 0..3 {
            let seen = Arc::clone(&seen);
            cleanup.push(
                format!("step {n}"),
                Duration::from_secs(1),
                move || async move {
                    seen.lock().unwrap().push(n);
                    if n == 1 {
                        Err("broken".to_owned())
                    } else {
                        Ok(())
                    }
                },
            );
        }
        cleanup.push("hangs", Duration::from_millis(1), std::future::pending);
        assert_eq!(
            cleanup.run().await,
            ["hangs: not done within 0 s", "step 1: broken"]
        );
        assert_eq!(*seen.lock().unwrap(), [2, 1, 0]);
    }
}
