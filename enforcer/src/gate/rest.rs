//! What a client still sends of a request that was refused: one that is sending hears nothing, and is told "broken pipe"
//! where its connection is closed meanwhile. It is taken for a while, and nothing is done with it.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::time::timeout;

/// How much of it.
const OF_ANYBODY: Bounds =
    Bounds { most: 256 << 20, longest: Duration::from_secs(20), pause: Duration::from_secs(1) };

#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Most bytes.
    most: usize,
    /// Longest wait for the end.
    longest: Duration,
    /// Longest pause: who sends nothing for so long has heard, or does not listen.
    pause: Duration,
}

/// Takes the rest of a body, or as much of it as is taken of anybody's.
pub(super) async fn take<B: Body<Data = Bytes> + Unpin>(body: B) {
    take_within(OF_ANYBODY, body).await;
}

async fn take_within<B: Body<Data = Bytes> + Unpin>(bounds: Bounds, mut body: B) {
    let taking = async {
        let mut left = bounds.most;
        while let Ok(Some(Ok(frame))) = timeout(bounds.pause, body.frame()).await {
            let length = frame.data_ref().map_or(0, Bytes::remaining);
            match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // Whoever goes on and on was answered long ago.
    let _late = timeout(bounds.longest, taking).await;
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use futures_util::stream::unfold;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::time::sleep;

    use super::*;

    const PART: usize = 1 << 10;
    const FEW: Bounds = Bounds {
        most: 4 * PART,
        longest: Duration::from_millis(400),
        pause: Duration::from_millis(200),
    };

    /// How many of so many parts are taken, with a pause before each.
    async fn taken(count: usize, pause: Duration) -> usize {
        let sent = Arc::new(AtomicUsize::new(0));
        let parts = unfold(Arc::clone(&sent), |sent| async move {
            if sent.load(Ordering::Relaxed) == count {
                return None;
            }
            sleep(pause).await;
            sent.fetch_add(1, Ordering::Relaxed);
            let part = Frame::data(Bytes::from(vec![0; PART]));
            Some((Ok::<_, Infallible>(part), sent))
        });
        take_within(FEW, StreamBody::new(Box::pin(parts))).await;
        sent.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn s26_of_what_is_refused_a_bounded_part_is_taken_for_a_bounded_time() {
        let pause = Duration::from_millis(150);
        assert_eq!(taken(3, Duration::ZERO).await, 3, "all of what is short");
        // The part that is too much is seen, and is the last.
        assert_eq!(taken(100, Duration::ZERO).await, 5, "bytes");
        assert!((1..=3).contains(&taken(100, pause).await), "time");
        assert_eq!(taken(3, 20 * pause).await, 0, "a pause");
    }
}
