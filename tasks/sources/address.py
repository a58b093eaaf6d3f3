"""Addresses: which machine they lead to, and how they are written down without what nobody should read."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from urllib.parse import parse_qsl, urlencode, urlsplit

# Names of query fields that carry a signature or a key: of S3, GCS, Azure, CloudFront, Discord, and what people write.
_SECRET = re.compile(
    r"x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|sig|sign|hmac|policy|key-pair-id|expires|expiry|exp"
    r"|se|sp|sv|sr|st|ske|skt|sks|skv|skoid|sktid|spr|ex|is|hm|hdnts|jwt|auth|authorization|credentials?|secret|session"
    r"|.*token|.*api_?key|.*access_?key|key|passwd|password|pwd",
    re.IGNORECASE,
)


def shown(url: str) -> str:
    """The address without user, password, signatures and keys, as it may stand in ledgers, logs and errors."""
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:  # no address at all
        return re.sub(r"//[^/@]*@", "//", url.partition("?")[0])
    if "@" in parts.netloc:
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    open_to_all = [(name, value) for name, value in query if not _SECRET.fullmatch(name)]
    if len(open_to_all) < len(query):
        parts = parts._replace(query=urlencode(open_to_all))
    return parts._replace(fragment="").geturl()


def is_address(host: str) -> bool:
    """Whether a host is an IP address and no name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_private(address: str) -> bool:
    """Whether an IP address is of this machine, its own network or a use that no public server has."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or _translated(ip)
        ip = inner or ip
    return not ip.is_global or ip.is_multicast


def _translated(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside one of NAT64 (RFC 6052)."""
    if ip in ipaddress.ip_network("64:ff9b::/96"):
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return None


class AddressBook:
    """The IP addresses of hosts, each looked up once, whoever asks first; failures are remembered as well."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}
        self._known: dict[str, list[str] | OSError] = {}

    def of(self, host: str, port: int) -> list[str]:
        """The host's addresses in the order of the system; OSError when it has none."""
        with self._lock:
            asking = self._asking.setdefault(host, threading.Lock())
        with asking:
            if host not in self._known:
                self._known[host] = _look_up(host, port)
        known = self._known[host]
        if isinstance(known, OSError):
            raise known
        return known


def _look_up(host: str, port: int) -> list[str] | OSError:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a name with an empty or too long part
        return error if isinstance(error, OSError) else OSError(str(error))
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
