/** How the page looks: light and dark by the reader's wish, on a phone, in print. */
export const STYLE = `
:root{color-scheme:light dark;--paper:#f7f7f4;--card:#fff;--ink:#1d2126;--soft:#5c6570;--line:#e3e3dc;--grid:#ecece6;
--stopped:#0f8a6d;--stopped-soft:#d6efe7;--passed:#e0703a;--banned:#4c5fd5;--banned-soft:#e3e6fb;--bad:#c2352b;--bad-soft:#fbe6e3;
--good:#0b7258;--good-soft:#e2f3ec;--warn:#8a5a00;--warn-soft:#fbf0d9;--mono:ui-monospace,"SF Mono","Cascadia Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--card:#1c2024;--ink:#e8eaec;--soft:#9aa4ae;--line:#2e343a;--grid:#282d32;
--stopped:#34b694;--stopped-soft:#173a31;--passed:#e88a58;--banned:#8b9bff;--banned-soft:#252b4d;--bad:#f07a70;--bad-soft:#3b201f;
--good:#4fcba8;--good-soft:#163329;--warn:#e4b45a;--warn-soft:#382c14}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1060px;margin:0 auto;padding:36px 24px 64px}
header p{color:var(--soft);margin:0;overflow-wrap:anywhere}
.brand{font-weight:650;letter-spacing:.01em;color:var(--ink)}
h1{font-size:clamp(1.55rem,1.1rem + 2.1vw,2.35rem);line-height:1.16;letter-spacing:-.018em;margin:0 0 .55em;text-wrap:balance}
h2{font-size:1.13rem;letter-spacing:-.006em;margin:0 0 2px}
h2+.lead{margin:0 0 16px}
.lead{color:var(--soft);max-width:74ch}
.verdict{margin:22px 0 18px;padding:28px 30px 24px;border-radius:16px;border:1px solid var(--line);background:var(--card);border-left:6px solid var(--tone)}
.verdict.good{--tone:var(--stopped)}.verdict.careful{--tone:var(--bad)}.verdict.idle{--tone:var(--soft)}
.verdict p{margin:.35em 0 0;max-width:78ch}
.tag{display:inline-block;font-size:.76rem;font-weight:650;letter-spacing:.05em;text-transform:uppercase;padding:3px 10px;border-radius:99px;margin-bottom:13px}
.good .tag{background:var(--good-soft);color:var(--good)}.careful .tag{background:var(--bad-soft);color:var(--bad)}.idle .tag{background:var(--grid);color:var(--soft)}
.figures{display:grid;grid-template-columns:repeat(4,1fr);gap:14px;margin:0 0 18px}
.figures div{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:15px 18px 13px}
.figures dt{color:var(--soft);font-size:.86rem}
.figures dd{margin:0;font-size:1.8rem;font-weight:640;letter-spacing:-.02em;line-height:1.28}
.figures small{display:block;font-size:.84rem;font-weight:400;letter-spacing:0;color:var(--soft)}
section{background:var(--card);border:1px solid var(--line);border-radius:16px;padding:24px 28px 22px;margin:0 0 18px}
.key{display:flex;flex-wrap:wrap;gap:4px 20px;color:var(--soft);font-size:.88rem;margin:0 0 8px}
.key span::before{content:"";display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:7px;vertical-align:-1px;background:var(--swatch)}
svg{display:block;width:100%;height:auto}svg.narrow{display:none}
.grid{stroke:var(--grid)}.axis{stroke:var(--line)}.tick{fill:var(--soft);font-size:11.5px}
.stopped{fill:var(--stopped)}.passed{fill:var(--passed)}.area{fill:var(--banned-soft)}.line{fill:none;stroke:var(--banned);stroke-width:1.8;stroke-linejoin:round}
.hit{fill:transparent}g:hover rect,.hit:hover{opacity:.75}.hit:hover{fill:var(--grid)}
.ban{fill:var(--banned-soft)}.ban.around{opacity:.5}.threshold{stroke:var(--bad);stroke-dasharray:4 4}.curve .line{stroke:var(--ink);stroke-width:1.5}
.scroll{overflow-x:auto;margin:0 -6px}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th{font-weight:600;color:var(--soft);font-size:.8rem;text-align:left;white-space:nowrap;vertical-align:bottom}
th,td{padding:7px 9px;border-bottom:1px solid var(--line);vertical-align:top}
tbody tr:last-child>td{border-bottom:0}
.n{text-align:right;white-space:nowrap}
code,.mono{font:.9em/1.5 var(--mono);overflow-wrap:anywhere}
.who{white-space:nowrap;min-width:11.5em}.who small,.sub{display:block;color:var(--soft);font-size:.84rem;overflow-wrap:anywhere;white-space:normal}
.bar{display:flex;height:9px;border-radius:3px;overflow:hidden;min-width:2px;margin-top:7px}.bar i{display:block}.bar .s{background:var(--stopped)}.bar .p{background:var(--passed)}
td.wide{width:38%;min-width:120px}
.chip{display:inline-block;font-size:.78rem;padding:1px 8px;border-radius:99px;background:var(--grid);color:var(--soft);white-space:nowrap}
.chip.bad{background:var(--bad-soft);color:var(--bad)}.chip.good{background:var(--good-soft);color:var(--good)}.chip.warn{background:var(--warn-soft);color:var(--warn)}.chip.now{background:var(--banned-soft);color:var(--banned)}
.curves{display:grid;grid-template-columns:repeat(auto-fill,minmax(290px,1fr));gap:16px 26px}
.curves figure{margin:0;min-width:0}.curves figcaption{display:flex;justify-content:space-between;gap:10px;align-items:baseline;border-top:1px solid var(--line);padding-top:10px}
.curves .sub{margin-bottom:4px}
details{margin-top:3px}summary{cursor:pointer;color:var(--soft);font-size:.86rem}
.log{margin:6px 0 0;padding:9px 12px;background:var(--paper);border-radius:8px;font:12px/1.5 var(--mono);overflow-wrap:anywhere;white-space:pre-wrap}
.totals{display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:0 34px;margin:0}
.totals div{display:flex;justify-content:space-between;gap:12px;border-bottom:1px solid var(--line);padding:5px 0}
.totals dt{color:var(--soft);order:0}.totals dd{margin:0;order:1;font-weight:560;white-space:nowrap}
.empty{color:var(--soft);margin:0}
pre.config{margin:12px 0 0;padding:14px 16px;background:var(--paper);border-radius:10px;font:13px/1.6 var(--mono);overflow-x:auto}
.dot{fill:var(--soft);opacity:.42}.dot.hurt{fill:var(--bad)}.dot.current{fill:var(--banned);opacity:1}.dot.best{fill:var(--stopped);opacity:1}.dot.current,.dot.best{stroke:var(--card);stroke-width:2.5}.mark{paint-order:stroke;stroke:var(--card);stroke-width:4px;fill:var(--ink);font-size:12px;font-weight:600}
footer{color:var(--soft);font-size:.86rem;padding:6px 4px}
@media (max-width:760px){main{padding:20px 12px 40px}.figures{grid-template-columns:1fr 1fr;gap:10px}.figures dd{font-size:1.45rem}.figures div{padding:12px 14px 10px}
section{padding:18px 16px}.verdict{padding:20px 18px 18px}svg.wide{display:none}svg.narrow{display:block}.spare{display:none}td.wide{min-width:70px}th,td{padding:7px 5px}.who code{white-space:nowrap;font-size:.82em}td.who{max-width:46vw;min-width:0}#collateral tr{display:grid;grid-template-columns:1fr 5em 4.6em;column-gap:8px;border-bottom:1px solid var(--line);padding:6px 0}#collateral td{border:0;padding:2px 0}#collateral td:last-child{grid-column:1/-1}#collateral th{border:0;padding:2px 0}}
@media print{:root{--paper:#fff;--card:#fff;--ink:#000;--soft:#444;--line:#ccc;--grid:#e6e6e6;--stopped:#0f8a6d;--passed:#e0703a;--banned:#4c5fd5;--banned-soft:#e3e6fb;--bad:#c2352b;--good:#0b7258}
body{font-size:11px;print-color-adjust:exact;-webkit-print-color-adjust:exact}main{padding:0;max-width:none}section,.verdict,.figures div{border-radius:6px;padding:12px 14px}
.figures,.verdict,figure,tr{break-inside:avoid}h2{break-after:avoid}details::details-content{content-visibility:visible;block-size:auto}svg.wide{display:block}svg.narrow{display:none}.scroll{overflow:visible}}
`;
