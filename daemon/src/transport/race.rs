//! Happy eyeballs (RFC 8305): several ways are tried, each a little after the one before, and the first that
//! leads through is kept.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

/// Tries the candidates in their order: the next one `stagger` after the one before, and at once when one
/// fails. All others are dropped when one succeeds.
///
/// # Errors
/// None succeeds: what each failed with, in the order of the candidates.
pub(super) async fn race<C, T, E, F>(
    candidates: impl IntoIterator<Item = C>,
    stagger: Duration,
    connect: impl Fn(C) -> F,
) -> Result<T, Vec<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut running = FuturesUnordered::new();
    let mut failures = Vec::new();
    for (position, candidate) in candidates.into_iter().enumerate() {
        let attempt = connect(candidate);
        running.push(async move { attempt.await.map_err(|error| (position, error)) });
        tokio::select! {
            biased;
            Some(ended) = running.next() => match ended {
                Ok(winner) => return Ok(winner),
                Err(failure) => failures.push(failure),
            },
            () = sleep(stagger) => {}
        }
    }
    while let Some(ended) = running.next().await {
        match ended {
            Ok(winner) => return Ok(winner),
            Err(failure) => failures.push(failure),
        }
    }
    failures.sort_by_key(|(position, _)| *position);
    Err(failures.into_iter().map(|(_, error)| error).collect())
}

/// The order in which a name's addresses are tried: the last good one first, and then the two families in
/// turn, beginning with the one that the resolver prefers.
pub(super) fn order(addresses: Vec<SocketAddr>, last_good: Option<IpAddr>) -> Vec<SocketAddr> {
    let (mut good, others): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| Some(address.ip()) == last_good);
    let first = good.first().or(others.first()).copied();
    let Some(first) = first else { return good };
    // The family of the last good one has had its turn.
    let leads = good.is_empty() == first.is_ipv6();
    let (leading, following): (Vec<_>, Vec<_>) =
        others.into_iter().partition(|address| address.is_ipv6() == leads);
    let mut leading = leading.into_iter();
    let mut following = following.into_iter();
    loop {
        let pair = [leading.next(), following.next()];
        if pair.iter().all(Option::is_none) {
            return good;
        }
        good.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::pending;

    use super::*;

    const STAGGER: Duration = Duration::from_millis(250);

    /// When each candidate was tried, in milliseconds from the start, and how many live.
    #[derive(Default)]
    struct Book {
        tried: RefCell<Vec<(char, u128)>>,
        living: Cell<usize>,
    }

    struct Living<'a>(&'a Book);

    impl Drop for Living<'_> {
        fn drop(&mut self) {
            self.0.living.set(self.0.living.get() - 1);
        }
    }

    #[derive(Clone, Copy)]
    enum Does {
        Answers(u64),
        Fails(u64),
        Hangs,
    }

    async fn run(book: &Book, candidates: &[(char, Does)]) -> Result<char, Vec<char>> {
        #[expect(clippy::disallowed_methods, reason = "the paused time of the test")]
        let begin = tokio::time::Instant::now();
        race(candidates.iter().copied(), STAGGER, |(name, does)| {
            book.tried.borrow_mut().push((name, begin.elapsed().as_millis()));
            book.living.set(book.living.get() + 1);
            let living = Living(book);
            async move {
                let _living = living;
                match does {
                    Does::Answers(after) => {
                        sleep(Duration::from_millis(after)).await;
                        Ok(name)
                    }
                    Does::Fails(after) => {
                        sleep(Duration::from_millis(after)).await;
                        Err(name)
                    }
                    Does::Hangs => pending().await,
                }
            }
        })
        .await
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_in_time_is_tried_alone() {
        let book = Book::default();
        let won = run(&book, &[('a', Does::Answers(249)), ('b', Does::Answers(0))]).await;
        assert_eq!(won, Ok('a'));
        assert_eq!(*book.tried.borrow(), [('a', 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_one_costs_the_stagger_and_is_dropped() {
        let book = Book::default();
        let won = run(
            &book,
            &[('a', Does::Hangs), ('b', Does::Hangs), ('c', Does::Answers(10))],
        )
        .await;
        assert_eq!(won, Ok('c'));
        assert_eq!(*book.tried.borrow(), [('a', 0), ('b', 250), ('c', 500)]);
        assert_eq!(book.living.get(), 0, "the losers are dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_the_next_is_tried_at_once() {
        let book = Book::default();
        let candidates = [
            ('a', Does::Fails(20)),
            ('b', Does::Fails(0)),
            ('c', Does::Answers(1)),
        ];
        assert_eq!(run(&book, &candidates).await, Ok('c'));
        assert_eq!(*book.tried.borrow(), [('a', 0), ('b', 20), ('c', 20)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_one_may_still_win() {
        let book = Book::default();
        let won = run(&book, &[('a', Does::Answers(300)), ('b', Does::Answers(400))]).await;
        assert_eq!(won, Ok('a'));
        assert_eq!(book.living.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn when_none_answers_all_failures_are_told_in_the_order_of_the_candidates() {
        let book = Book::default();
        let candidates = [
            ('a', Does::Fails(900)),
            ('b', Does::Fails(1)),
            ('c', Does::Fails(400)),
        ];
        assert_eq!(run(&book, &candidates).await, Err(vec!['a', 'b', 'c']));
        assert_eq!(run(&book, &[]).await, Err(vec![]));
    }

    #[test]
    fn the_families_take_turns_and_the_last_good_address_comes_first() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts
                .iter()
                .map(|text| SocketAddr::new(text.parse().unwrap(), 1))
                .collect()
        };
        let ordered = |given: &[&str], last_good: Option<&str>| {
            order(
                addresses(given),
                last_good.map(|address| address.parse().unwrap()),
            )
        };
        for (given, last_good, expected) in [
            (
                vec!["::1", "::2", "::3", "1.1.1.1", "1.1.1.2"],
                None,
                vec!["::1", "1.1.1.1", "::2", "1.1.1.2", "::3"],
            ),
            (
                vec!["1.1.1.1", "1.1.1.2", "::1"],
                None,
                vec!["1.1.1.1", "::1", "1.1.1.2"],
            ),
            (
                vec!["::1", "::2", "1.1.1.1", "1.1.1.2"],
                Some("1.1.1.2"),
                vec!["1.1.1.2", "::1", "1.1.1.1", "::2"],
            ),
            (
                vec!["::1", "::2", "1.1.1.1"],
                Some("::2"),
                vec!["::2", "1.1.1.1", "::1"],
            ),
            (vec!["::1", "1.1.1.1"], Some("9.9.9.9"), vec!["::1", "1.1.1.1"]),
            (vec![], Some("9.9.9.9"), vec![]),
        ] {
            assert_eq!(
                ordered(&given, last_good),
                addresses(&expected),
                "{given:?}, {last_good:?}"
            );
        }
    }
}
