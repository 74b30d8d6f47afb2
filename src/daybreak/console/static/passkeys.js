// Passkeys: a form that is to be sent with what an authenticator says. The browser asks that one, with what the console
// asks of it; the form then goes its ordinary way. Where a browser knows no passkeys the form stays hidden.
"use strict";

(() => {
  const forms = document.querySelectorAll("form[data-passkey]");
  if (!window.PublicKeyCredential || !navigator.credentials) {
    for (const one of document.querySelectorAll("[data-without-passkeys]")) one.hidden = false;
    return;
  }

  function bytes(text) {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
  }

  function text(buffer) {
    const letters = Array.from(new Uint8Array(buffer), (one) => String.fromCharCode(one)).join("");
    return btoa(letters).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  }

  function described(ones) {
    return (ones || []).map((one) => ({ ...one, id: bytes(one.id) }));
  }

  // A new one where the console says for whom, else one that is there.
  function asked(options) {
    const publicKey = { ...options, challenge: bytes(options.challenge) };
    if (!options.user) return navigator.credentials.get({ publicKey: { ...publicKey, allowCredentials: described(options.allowCredentials) } });
    const user = { ...options.user, id: bytes(options.user.id) };
    return navigator.credentials.create({ publicKey: { ...publicKey, user, excludeCredentials: described(options.excludeCredentials) } });
  }

  function told(credential) {
    const response = {};
    for (const part of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (credential.response[part]) response[part] = text(credential.response[part]);
    }
    return JSON.stringify({ id: credential.id, rawId: text(credential.rawId), type: credential.type, response });
  }

  function why(fault) {
    if (fault.name === "InvalidStateError") return "You have added that one already.";
    if (fault.name === "NotAllowedError") return "No passkey was used: it was not wanted, took too long, or there is none for this console.";
    return "That did not work. Load this page again.";
  }

  async function answer(form) {
    const asks = await fetch(form.dataset.passkey, { method: "POST", headers: { "X-CSRF-Token": form.elements.csrf.value } });
    if (asks.redirected) {
      window.location.assign(asks.url); // who you are has to be shown again first; from there it leads back here
      return;
    }
    if (!asks.ok) throw new Error(String(asks.status));
    form.elements.answer.value = told(await asked(await asks.json()));
    form.submit();
  }

  for (const form of forms) {
    const said = form.querySelector("[role=alert]");
    const button = form.querySelector("button");
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      said.hidden = true;
      button.disabled = true;
      try {
        await answer(form);
      } catch (fault) {
        said.textContent = why(fault);
        said.hidden = false;
        button.disabled = false;
        button.focus();
      }
    });
    // Who comes back to a page that he left finds it as it was.
    window.addEventListener("pageshow", () => { button.disabled = false; });
  }
})();
