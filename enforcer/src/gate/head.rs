//! The head of a request, byte by byte, before any library reads it: what two readers could take for two things is
//! refused here (S06, S09, S10). Pure.
//!
//! hyper takes the last of two lengths, drops one beside `Transfer-Encoding`, and lets a lone LF end a line; Go, at
//! the other end, has other habits. What passes here has one meaning for both.

#[cfg(test)]
mod tests;

use hyper::StatusCode;

use super::verdict::Refusal;

/// Longest head, bytes.
pub const MAX_HEAD: usize = 16 << 10;
/// Most headers.
const MAX_HEADERS: usize = 64;
/// Most digits of a length: 2⁶³ has as many.
const MAX_DIGITS: usize = 19;

/// Methods that the engine knows.
const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "PUT", "DELETE"];
/// Headers that make of one request two, or another one.
const REFUSED: [&str; 4] = ["expect", "te", "trailer", "http2-settings"];

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// There is none.
    None,
    /// So many bytes; none is [`Self::None`].
    Sized(u64),
    /// As its chunks say.
    Chunked,
}

/// What a connection is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// A stream of bytes, both ways.
    Tcp,
    /// A web socket; `None`: what makes its handshake one is missing, or is not of this version.
    WebSocket(Option<Key>),
}

/// What a client says once to begin a web socket (RFC 6455, 4.1): 16 bytes in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key([u8; Self::LENGTH]);

impl Key {
    const LENGTH: usize = 24;

    fn read(text: &str) -> Option<Self> {
        let bytes: [u8; Self::LENGTH] = text.as_bytes().try_into().ok()?;
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        let (letters, end) = bytes.split_at(Self::LENGTH - 2);
        (letters.iter().all(is_letter) && end == b"==").then_some(Self(bytes))
    }

    /// As it was said.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What matters of a head; hyper reads the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Method, one of five.
    pub method: String,
    /// Path and query, as they came.
    pub target: String,
    /// The body.
    pub length: Length,
    /// Whether the connection is to be something else afterwards.
    pub upgrade: Option<Upgrade>,
    /// Whether the body is compressed, or otherwise not what it is.
    pub is_encoded: bool,
}

/// How much of a head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not all of it.
    More,
    /// All of it: so many bytes.
    Whole(usize),
}

/// Looks for the end of a head, and ends early where there can be none.
pub fn progress(bytes: &[u8]) -> Result<Progress, Refusal> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
    // What stands behind the head is the body's.
    let last = end.unwrap_or(bytes.len()).min(MAX_HEAD);
    let lone = |at: usize| at == 0 || bytes.get(at - 1) != Some(&b'\r');
    if memchr::memchr_iter(b'\n', bytes).take_while(|at| *at < last).any(lone) {
        return Err(unclear("head.line", "a line of the request's head does not end with CR LF"));
    }
    match end {
        Some(end) if end <= MAX_HEAD => Ok(Progress::Whole(end)),
        None if bytes.len() < MAX_HEAD => Ok(Progress::More),
        _ => Err(Refusal {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            rule: "head.long",
            message: format!("the request's head is longer than {MAX_HEAD} bytes"),
        }),
    }
}

/// Reads a whole head.
pub fn read(bytes: &[u8]) -> Result<Head, Refusal> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii());
    let text = text.and_then(|text| text.strip_suffix("\r\n\r\n"));
    let text =
        text.ok_or_else(|| unclear("head.bytes", "the request's head is not plain ASCII"))?;
    let mut lines = text.split("\r\n");
    let (method, target) = request_line(lines.next().unwrap_or_default())?;
    let headers = lines.map(header).collect::<Result<Vec<_>, _>>()?;
    if headers.len() > MAX_HEADERS {
        let message = format!("the request has more than {MAX_HEADERS} headers");
        return Err(unclear("head.many", message));
    }
    let mut names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if let Some((twice, _)) = names.iter().zip(names.iter().skip(1)).find(|(one, next)| one == next)
    {
        return Err(unclear("head.twice", format!("the header {twice} is there twice")));
    }
    if let Some(refused) = REFUSED.iter().find(|refused| names.binary_search(refused).is_ok()) {
        let message = format!("the header {refused} is not understood here; leave it out");
        return Err(Refusal {
            status: StatusCode::EXPECTATION_FAILED,
            rule: "head.refused",
            message,
        });
    }
    let value = |name: &str| {
        headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    };
    if !value("host").is_some_and(is_host) {
        return Err(unclear("head.host", "the request has no Host, or one that is no name"));
    }
    let length = length(value("content-length"), value("transfer-encoding"))?;
    if matches!(method, "GET" | "HEAD") && length != Length::None {
        return Err(unclear("head.body", "a request that asks for something has no body"));
    }
    let encoding = value("content-encoding");
    let is_13 = value("sec-websocket-version") == Some("13");
    let key = value("sec-websocket-key").filter(|_| is_13).and_then(Key::read);
    Ok(Head {
        upgrade: upgrade(value("connection"), value("upgrade"), key)?,
        method: method.to_owned(),
        target: target.to_owned(),
        length,
        is_encoded: encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")),
    })
}

/// Bytes that came together with a head to which none belong.
pub fn alone(head: &Head, rest: &[u8]) -> Result<(), Refusal> {
    let most = match head.length {
        Length::None => 0,
        Length::Sized(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Length::Chunked => return Ok(()),
    };
    if rest.len() <= most {
        return Ok(());
    }
    Err(unclear(
        "head.beyond",
        "more bytes came than the request says it has; one request goes over one connection",
    ))
}

fn request_line(line: &str) -> Result<(&str, &str), Refusal> {
    let mut words = line.split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, words.next())
    else {
        return Err(unclear("head.request", "the request line is not METHOD TARGET HTTP/1.1"));
    };
    if version != "HTTP/1.1" {
        return Err(Refusal {
            status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            rule: "head.version",
            message: "only HTTP/1.1 is spoken here".to_owned(),
        });
    }
    if !METHODS.contains(&method) {
        return Err(Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            rule: "head.method",
            message: "the engine has no such method".to_owned(),
        });
    }
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#' && byte != b'\\';
    if !target.starts_with('/') || !target.bytes().all(is_plain) {
        return Err(unclear("head.target", "the target is not a path that begins with '/'"));
    }
    Ok((method, target))
}

/// Name, in lower case, and value.
fn header(line: &str) -> Result<(String, String), Refusal> {
    let wrong = || unclear("head.header", "a header is not NAME: VALUE on one line");
    let (name, value) = line.split_once(':').ok_or_else(wrong)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_text = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) || !value.bytes().all(is_text) {
        return Err(wrong());
    }
    Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
}

fn length(length: Option<&str>, encoding: Option<&str>) -> Result<Length, Refusal> {
    match (length, encoding) {
        (None, None) => Ok(Length::None),
        (None, Some(encoding)) if encoding.eq_ignore_ascii_case("chunked") => Ok(Length::Chunked),
        (None, Some(_)) => {
            Err(unclear("head.encoding", "Transfer-Encoding is \"chunked\", or not there"))
        }
        (Some(digits), None) => {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            let number =
                digits.parse::<u64>().ok().filter(|_| is_number && digits.len() <= MAX_DIGITS);
            match number {
                Some(0) => Ok(Length::None),
                Some(number) => Ok(Length::Sized(number)),
                None => Err(unclear("head.length", "Content-Length is not a number")),
            }
        }
        (Some(_), Some(_)) => Err(unclear(
            "head.two-lengths",
            "Content-Length and Transfer-Encoding do not go together",
        )),
    }
}

fn upgrade(
    connection: Option<&str>,
    to: Option<&str>,
    key: Option<Key>,
) -> Result<Option<Upgrade>, Refusal> {
    let options =
        connection.unwrap_or_default().split(',').map(|word| word.trim().to_ascii_lowercase());
    let options: Vec<String> = options.filter(|word| !word.is_empty()).collect();
    let known = ["close", "keep-alive", "upgrade"];
    if options.iter().any(|option| !known.contains(&option.as_str())) {
        return Err(unclear(
            "head.connection",
            "Connection says something that is not understood here",
        ));
    }
    let wants = options.iter().any(|option| option == "upgrade");
    match (wants, to.map(str::to_ascii_lowercase).as_deref()) {
        (false, None) => Ok(None),
        (true, Some("tcp")) => Ok(Some(Upgrade::Tcp)),
        (true, Some("websocket")) => Ok(Some(Upgrade::WebSocket(key))),
        (_, Some("h2c")) => Err(Refusal {
            status: StatusCode::FORBIDDEN,
            rule: "head.h2c",
            message: "HTTP/2 is not spoken here, so BuildKit is not: set DOCKER_BUILDKIT=0"
                .to_owned(),
        }),
        _ => Err(unclear(
            "head.upgrade",
            "Upgrade and Connection do not say the same, or nothing known",
        )),
    }
}

/// Docker's command line before 20.10.25 has an empty one where a connection becomes a stream.
fn is_host(host: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]%/".contains(&byte);
    host.bytes().all(is_plain)
}

fn unclear(rule: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, rule, message: message.into() }
}
