"""Who may come into the console: people, sessions, tokens, second factors, passkeys, and the log of what they did.

`accounts.py` is the way in; `schema.py` says what is kept. Nothing here knows of HTTP.
"""

from daybreak.console.accounts.accounts import Accounts, open_accounts
from daybreak.console.accounts.audit import Audit, By, Entry, Verdict
from daybreak.console.accounts.passkeys import Passkey
from daybreak.console.accounts.sessions import FRESH, Session
from daybreak.console.accounts.tokens import Token
from daybreak.console.accounts.users import User
from daybreak.console.accounts.words import VERBS

__all__ = [
    "FRESH",
    "VERBS",
    "Accounts",
    "Audit",
    "By",
    "Entry",
    "Passkey",
    "Session",
    "Token",
    "User",
    "Verdict",
    "open_accounts",
]
