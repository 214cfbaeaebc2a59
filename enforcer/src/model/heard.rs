//! What the engine says happened.

/// What an event says to people who were not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Type and action, as the engine says them: `container die`, `network connect`.
    pub event: String,
    /// When, by the engine's clock: nanoseconds since 1970.
    pub time_ns: Option<i64>,
    /// Name of the network.
    pub network: Option<String>,
    /// Id of the container.
    pub container: Option<String>,
    /// The container's name.
    pub name: Option<String>,
    /// The container's image, as it was asked for.
    pub image: Option<String>,
    /// How its first process ended.
    pub exit_code: Option<i64>,
    /// Number of the signal that was sent.
    pub signal: Option<i64>,
}

impl Heard {
    /// Something about the engine itself. What happens while it is not followed, nobody hears.
    #[must_use]
    pub fn of_the_engine(event: &str) -> Self {
        Self { event: event.to_owned(), ..Self::default() }
    }
}
