//! Images: they are there, or are pulled, and whoever waits hears how far it is.

use std::{collections::BTreeMap, time::Duration};

use bollard::{models::CreateImageInfo, query_parameters::CreateImageOptionsBuilder};
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::{Engine, EngineError, within};

/// Longest that the engine may say nothing of a pull.
const SILENCE: Duration = Duration::from_mins(1);
/// Longest pull.
const LONGEST: Duration = Duration::from_mins(30);
/// Layers whose sizes are added up: an image has 127 at most.
const LAYERS: usize = 256;

/// What became of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// It was there.
    There,
    /// It is there now.
    Now,
}

impl Engine {
    /// Sees to it that an image is there; `heard` hears how many bytes of how many have come.
    pub async fn ensure_image(
        &self,
        image: &str,
        heard: impl FnMut(u64, u64),
    ) -> Result<Pulled, EngineError> {
        match within("inspect the image", self.docker.inspect_image(image)).await {
            Ok(_) => return Ok(Pulled::There),
            Err(error) if error.status() == Some(404) => {}
            Err(error) => return Err(error),
        }
        let doing = "pull the image";
        let pull = timeout(LONGEST, self.pull(image, heard)).await;
        pull.map_err(|_elapsed| EngineError::TimedOut { doing })??;
        within(doing, self.docker.inspect_image(image)).await?;
        Ok(Pulled::Now)
    }

    async fn pull(&self, image: &str, mut heard: impl FnMut(u64, u64)) -> Result<(), EngineError> {
        let doing = "pull the image";
        let mut options = CreateImageOptionsBuilder::default().from_image(image);
        // Without a tag the engine would pull all of them.
        if !names_one(image) {
            options = options.tag("latest");
        }
        let mut words = Box::pin(self.docker.create_image(Some(options.build()), None, None));
        let mut layers = Layers::default();
        loop {
            let word = timeout(SILENCE, words.next()).await;
            match word.map_err(|_elapsed| EngineError::TimedOut { doing })? {
                None => return Ok(()),
                Some(word) => layers.take(word.map_err(EngineError::request(doing))?),
            }
            let (done, of) = layers.sum();
            heard(done, of);
        }
    }
}

/// Whether a name has a tag or a digest.
fn names_one(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.contains(':') || image.contains('@')
}

/// Bytes of each layer that have come, and that there are.
#[derive(Debug, Default)]
struct Layers(BTreeMap<String, (u64, u64)>);

impl Layers {
    fn take(&mut self, word: CreateImageInfo) {
        let (Some(id), Some(detail)) = (word.id, word.progress_detail) else { return };
        // Unpacking is told in the same way, and begins anew.
        if word.status.as_deref() != Some("Downloading") {
            return;
        }
        let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
        let (Some(done), Some(of)) = (number(detail.current), number(detail.total)) else { return };
        if self.0.len() < LAYERS || self.0.contains_key(&id) {
            self.0.insert(id, (done.min(of), of));
        }
    }

    fn sum(&self) -> (u64, u64) {
        let add = |sum: (u64, u64), one: &(u64, u64)| {
            (sum.0.saturating_add(one.0), sum.1.saturating_add(one.1))
        };
        self.0.values().fold((0, 0), add)
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn a_name_without_a_tag_is_of_one_image_and_not_of_all() {
        for image in ["python:3", "a.b:5000/python:3", "python@sha256:00"] {
            assert!(names_one(image), "{image}");
        }
        for image in ["python", "a.b:5000/python", "a/b/c"] {
            assert!(!names_one(image), "{image}");
        }
    }

    #[test]
    fn bytes_of_layers_are_added_up_once_each() {
        let mut layers = Layers::default();
        let word = |id: &str, status: &str, current, total| CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        };
        layers.take(word("a", "Downloading", 1, 10));
        layers.take(word("b", "Downloading", 20, 20));
        layers.take(word("a", "Downloading", 11, 10));
        layers.take(word("a", "Extracting", 1, 10));
        layers.take(word("c", "Downloading", -1, 10));
        layers.take(CreateImageInfo::default());
        assert_eq!(layers.sum(), (30, 30));
    }
}
