//! Logging in with a key (RFC 4252).

use tokio::io::{AsyncRead, AsyncWrite};

use super::data::{Reader, Writer};
use super::error::SshError;
use super::key::{ED25519, KeyPair};
use super::number;
use super::transport::{Transport, unexpected};

const SERVICE: &str = "ssh-userauth";
const NEXT: &str = "ssh-connection";

/// Logs in. The signature is sent at once: asking first whether the key would do costs another round trip.
pub(super) async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
    transport: &mut Transport<S>,
    user: &str,
    key: &KeyPair,
    session: &[u8; 32],
) -> Result<(), SshError> {
    transport.say(Writer::message(number::SERVICE_REQUEST).string(SERVICE))?;
    transport.flush().await?;
    let accepted = transport.hear().await?;
    if accepted[0] != number::SERVICE_ACCEPT {
        return Err(unexpected(&accepted));
    }
    transport.say(request(user, key, session))?;
    transport.flush().await?;
    loop {
        let payload = transport.hear().await?;
        match payload[0] {
            number::USERAUTH_SUCCESS => return Ok(()),
            number::USERAUTH_BANNER => (),
            number::USERAUTH_FAILURE => {
                let mut reader = Reader::new(&payload[1..], "SSH_MSG_USERAUTH_FAILURE");
                let methods = reader.text()?;
                let user = user.to_owned();
                return Err(SshError::Denied { user, methods });
            }
            _ => return Err(unexpected(&payload)),
        }
    }
}

/// RFC 4252, section 7: the signature is over the session's identifier and all of the message before it.
fn request(user: &str, key: &KeyPair, session: &[u8; 32]) -> Writer {
    let message = Writer::message(number::USERAUTH_REQUEST)
        .string(user)
        .string(NEXT)
        .string("publickey")
        .boolean(true)
        .string(ED25519)
        .string(key.public().blob());
    let signed = Writer::new().string(session).raw(&message.clone().done());
    message.string(key.sign(&signed.done()))
}
