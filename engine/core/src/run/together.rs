//! The same work on many nodes at the same time.

use tokio::task::JoinSet;

/// Runs one future for each item at the same time; results are in the items' order. A panic of one
/// is resumed here.
pub(super) async fn each<I, T, F>(items: Vec<I>, work: impl Fn(I) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut set = JoinSet::new();
    for (index, item) in items.into_iter().enumerate() {
        let future = work(item);
        set.spawn(async move { (index, future.await) });
    }
    let mut done = set.join_all().await;
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
