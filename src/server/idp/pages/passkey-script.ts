// The one script of our pages: it hands the options of a form to the authenticator and puts the answer into the form. It is inside each page
// that has such a form, allowed there by its hash; without scripts, or a browser that knows passkeys, the form stays hidden.

export const passkeyScript = `
for (const form of document.querySelectorAll('form[data-passkey]')) {
  const known = window.PublicKeyCredential;
  if (!known || !known.parseRequestOptionsFromJSON) continue;
  form.hidden = false;
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const problem = form.querySelector('[role=alert]');
    problem.hidden = true;
    try {
      const options = JSON.parse(form.dataset.options);
      const credential = form.dataset.passkey === 'create'
        ? await navigator.credentials.create({ publicKey: known.parseCreationOptionsFromJSON(options) })
        : await navigator.credentials.get({ publicKey: known.parseRequestOptionsFromJSON(options) });
      form.elements.namedItem('credential').value = JSON.stringify(credential.toJSON());
      form.submit();
    } catch {
      problem.hidden = false;
    }
  });
}
`;
