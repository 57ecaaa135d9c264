// The look of the provider's pages, light and dark; edges of fields stand out by 3:1 (WCAG 2.2 §1.4.11). It is inside each page, allowed there by its hash.

export const style = `
:root { color-scheme: light dark; --ground: #f4f5f7; --card: #fff; --ink: #1c2430; --soft: #5b6676; --line: #cfd6df; --edge: #858f9d; --accent: #1f6feb; --on-accent: #fff; --bad: #b3261e; --bad-ground: #fdecea; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161c; --card: #1b222b; --ink: #e6eaf0; --soft: #9aa7b6; --line: #36414e; --edge: #6f7d8e; --accent: #4c8dff; --on-accent: #08101c; --bad: #ff8a80; --bad-ground: #3a1f1e; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { width: 100%; max-width: 24rem; padding: 2rem; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.mark { margin: 0 0 1.5rem; font-weight: 650; letter-spacing: .01em; color: var(--soft); }
h1 { margin: 0 0 .5rem; font-size: 1.375rem; line-height: 1.25; }
p { margin: 0 0 1rem; }
.soft { color: var(--soft); overflow-wrap: anywhere; }
.problem { padding: .75rem 1rem; border-radius: 8px; background: var(--bad-ground); color: var(--bad); overflow-wrap: anywhere; }
label { display: block; margin: 1rem 0 .25rem; font-weight: 550; }
input { width: 100%; padding: .625rem .75rem; border: 1px solid var(--edge); border-radius: 8px; background: transparent; color: inherit; font: inherit; }
input:focus-visible, button:focus-visible, a:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
button, .button { display: block; width: 100%; margin-top: 1.25rem; padding: .6875rem .75rem; border: 1px solid var(--accent); border-radius: 8px; background: var(--accent); color: var(--on-accent); font: inherit; font-weight: 600; text-align: center; text-decoration: none; cursor: pointer; }
.quiet { border-color: var(--edge); background: transparent; color: inherit; margin-top: .75rem; }
.or { margin: 1.5rem 0 0; color: var(--soft); text-align: center; font-size: .875rem; }
code { display: block; margin: 1rem 0; font: 1.75rem/1.2 ui-monospace, monospace; letter-spacing: .08em; text-align: center; }
code.small { font-size: 1rem; overflow-wrap: anywhere; }
.codes { padding: 0; list-style: none; font: 1rem/1.8 ui-monospace, monospace; text-align: center; }
.rows { padding: 0; list-style: none; }
.rows li { padding: .75rem 0; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
.rows button { margin-top: .5rem; }
h2 { margin: 2rem 0 .5rem; font-size: 1.0625rem; }
[hidden] { display: none; }
a { color: var(--accent); }
`;
