//! Blocks that run at the same time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use vexp_api::ids::Name;
use vexp_api::plan::Block;

/// The machine of a block: until its snapshot is there, blocks of the same one run one after the other, since the first
/// keeps the snapshot that the next one starts from.
fn machine(block: &Block) -> (&Name, &Name) {
    (&block.machine.platform, &block.machine.hardware)
}

/// Runs blocks in their order, `jobs` of them at a time. `kept` says whether a block's snapshot is there.
///
/// # Errors
/// The first error of a block. Blocks that run then are dropped.
pub(super) async fn run<'a, F, E>(
    blocks: &'a [Block],
    jobs: usize,
    kept: impl Fn(&Block) -> bool,
    start: impl Fn(&'a Block) -> F,
) -> Result<(), E>
where
    F: Future<Output = Result<(), E>> + 'a,
{
    let mut waiting: Vec<&Block> = blocks.iter().collect();
    let mut running: Vec<(&Block, Pin<Box<F>>)> = Vec::new();
    loop {
        while running.len() < jobs.max(1) {
            let free = |block: &&Block| {
                !running.iter().any(|(r, _)| machine(r) == machine(block)) || kept(block)
            };
            let Some(next) = waiting.iter().position(free) else {
                break;
            };
            let block = waiting.remove(next);
            running.push((block, Box::pin(start(block))));
        }
        if running.is_empty() {
            return Ok(());
        }
        let (ended, result) = poll_fn(|cx| {
            let mut all = running.iter_mut().enumerate();
            let ended = all.find_map(|(n, (_, future))| match future.as_mut().poll(cx) {
                Poll::Ready(result) => Some((n, result)),
                Poll::Pending => None,
            });
            ended.map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        result?;
        drop(running.remove(ended));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::dispatch::tests::block;
    use super::*;

    fn of(platform: &str, id: &str) -> Block {
        let mut block = block(&[]);
        block.machine.platform = Name::new(platform).unwrap();
        block.id = Name::new(id).unwrap();
        block
    }

    /// What was started and ended, in that order; each block ends after as many polls as there are blocks.
    async fn story(
        blocks: &[Block],
        jobs: usize,
        fails: &str,
    ) -> (Vec<String>, Result<(), String>) {
        let told = Mutex::new(Vec::new());
        let tell = |sign: &str, block: &Block| {
            told.lock().unwrap().push(format!("{sign}{}", block.id));
        };
        let kept = |block: &Block| block.id.as_str().starts_with("kept");
        let ended = run(blocks, jobs, kept, async |block| {
            tell("+", block);
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            if block.id.as_str() == fails {
                return Err(block.id.to_string());
            }
            tell("-", block);
            Ok(())
        })
        .await;
        (told.into_inner().unwrap(), ended)
    }

    #[tokio::test]
    async fn blocks_of_one_machine_never_run_at_once() {
        let blocks = [of("p", "p1"), of("p", "p2"), of("q", "q1")];
        let (two, ended) = story(&blocks, 2, "").await;
        assert_eq!(two, ["+p1", "+q1", "-p1", "-q1", "+p2", "-p2"]);
        assert_eq!(ended, Ok(()));
        let (one, _) = story(&blocks, 1, "").await;
        assert_eq!(one, ["+p1", "-p1", "+p2", "-p2", "+q1", "-q1"]);
    }

    #[tokio::test]
    async fn blocks_whose_snapshot_is_there_run_at_once() {
        let blocks = [of("p", "p1"), of("p", "p2"), of("p", "kept3")];
        let (two, ended) = story(&blocks, 2, "").await;
        assert_eq!(two, ["+p1", "+kept3", "-p1", "-kept3", "+p2", "-p2"]);
        assert_eq!(ended, Ok(()));
    }

    #[tokio::test]
    async fn an_error_ends_all() {
        let blocks = [of("p", "p1"), of("q", "q1"), of("r", "r1")];
        let (told, ended) = story(&blocks, 2, "p1").await;
        assert_eq!(ended, Err("p1".to_owned()));
        assert_eq!(told, ["+p1", "+q1"]);
    }
}
