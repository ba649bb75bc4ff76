"""Mail by SMTP: one thread an incident."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any

from sidecar.config.channels import EmailConfig
from sidecar.config.load import read_secret
from sidecar.errors import NotifyError
from sidecar.telemetry import get_logger
from webhooks.notify.channel import Outgoing

DEFAULT_PORT = 587


class Email:
    """Sends a mail a message; the Message-ID is made of its key, so a repeated try is the same mail.

    SMTP has no key by which a server would know a repeated mail. So the message is said to be in
    doubt before the server is handed it; what a crash interrupts before that is not.
    """

    def __init__(self, config: EmailConfig, timeout_seconds: float) -> None:
        self._config = config
        self._timeout = timeout_seconds
        self._log = get_logger("email")

    async def send(self, outgoing: Outgoing) -> dict[str, str]:
        """Deliver a message.

        Raises: NotifyError; what SMTP calls transient (4xx) is retryable, refused credentials are not.
        """
        # Imported late: it is of use to few, and the process must start fast.
        import aiosmtplib

        config = self._config
        host, _, port = config.server.partition(":")
        try:
            password = read_secret(config.password, config.password_file)
            mail = mail_of(
                outgoing.document,
                sender=config.sender,
                to=config.to,
                made_at=outgoing.made_at,
                picture=outgoing.picture,
            )
            async with aiosmtplib.SMTP(
                hostname=host,
                port=int(port) if port else DEFAULT_PORT,
                username=config.username,
                password=password,
                use_tls=config.tls == "implicit",
                start_tls=config.tls == "starttls",
                timeout=self._timeout,
            ) as server:
                await outgoing.doubt(True)
                refused, _ = await server.send_message(mail)
        except aiosmtplib.SMTPRecipientsRefused as error:
            await outgoing.doubt(False)
            codes = [refusal.code for refusal in error.recipients]
            raise NotifyError(
                f"smtp {host}: recipients refused ({codes[0]})", retryable=any(code < 500 for code in codes)
            ) from error
        except aiosmtplib.SMTPResponseException as error:
            await outgoing.doubt(False)
            raise NotifyError(
                f"smtp {host}: {error.code} {error.message}", retryable=error.code < 500
            ) from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise NotifyError(f"smtp {host}: {error or type(error).__name__}", retryable=True) from error
        if refused:
            # Sent again, it would come twice to those who have it.
            self._log.error("mail refused for some", server=host, n_refused=len(refused), of=len(config.to))
        return {}

    async def close(self) -> None:
        """Nothing is held: a connection a mail."""


def mail_of(
    document: Mapping[str, Any],
    *,
    sender: str,
    to: tuple[str, ...],
    made_at: float,
    picture: bytes | None = None,
) -> EmailMessage:
    """The mail of a message; later ones of an incident refer to its first."""
    domain = sender.rpartition("@")[2]
    incident_id = str(document["incident"]["incident_id"])
    key = str(document["idempotency_key"])
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, ", ".join(to)
    mail["Subject"] = " ".join(str(document["title"]).split())
    mail["Date"] = email.utils.formatdate(made_at)
    mail["Message-ID"] = f"<{key.replace('/', '.')}@{domain}>"
    mail["References"] = f"<{incident_id}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    links = [f"{text}: {href}" for text, href in document.get("links", {}).items() if href]
    mail.set_content("\n".join([str(document["text"]), *([""] if links else []), *links]) + "\n")
    if picture is not None:
        mail.add_attachment(
            picture, maintype="image", subtype="png", filename="series.png", disposition="inline"
        )
    return mail
