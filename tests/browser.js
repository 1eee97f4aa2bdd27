// In a copy of a page: tells the page around it what the browser made of this one.

const found = [];
const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
const name = (element) => `<${element.tagName} class="${element.getAttribute("class") ?? ""}"> ` +
    element.textContent.trim().slice(0, 60);

// Nothing is wider than the page, but for what scrolls by itself.
function widths() {
    const width = document.documentElement.clientWidth;
    const scrolled = document.documentElement.scrollWidth;
    if (scrolled > width) found.push(`the page is ${scrolled} wide`);
    for (const element of document.body.querySelectorAll("*")) {
        const box = element.getBoundingClientRect();
        const inner = element.parentElement.closest(".scroll, svg");
        if (!inner && (box.right > width + 0.5 || box.left < -0.5)) found.push(`sticks out: ${name(element)}`);
    }
}

// Text of a drawing lies in its viewBox, and apart from other text; a figure shows something.
function drawings() {
    const drawings = [...document.querySelectorAll("svg[role=img]")];
    if (drawings.length === 0) found.push("there is no figure");
    for (const svg of drawings) {
        const drawn = (shape) => shape.getBBox().width + shape.getBBox().height > 0;
        if (![...svg.querySelectorAll(".line, .dot")].some(drawn)) found.push(`an empty figure: ${svg.ariaLabel}`);
    }
    for (const svg of document.querySelectorAll("svg")) {
        const texts = [...svg.querySelectorAll("text")].filter((text) => text.ownerSVGElement === svg);
        const view = svg.viewBox.baseVal;
        const at = svg.getScreenCTM();
        const [left, top] = [at.e + at.a * view.x, at.f + at.d * view.y];
        const [right, bottom] = [left + at.a * view.width, top + at.d * view.height];
        const boxes = texts.map((text) => text.getBoundingClientRect());
        boxes.forEach((box, i) => {
            if (box.left < left - 1 || box.right > right + 1 || box.top < top - 1 || box.bottom > bottom + 1) {
                found.push(`text outside of its drawing: ${name(texts[i])}`);
            }
            // Above and below letters a box has room.
            const over = (other) => box.left < other.right && other.left < box.right &&
                box.top + 4 < other.bottom && other.top + 4 < box.bottom;
            boxes.slice(i + 1).forEach((other, j) => {
                if (over(other)) found.push(`text over text: ${name(texts[i])}, ${name(texts[i + 1 + j])}`);
            });
        });
    }
}

// Text stands out from the ground, which follows the theme.
function colors() {
    const light = (color) => {
        const parts = color.match(/[\d.]+/g).slice(0, 3).map((part) => part / 255);
        const linear = parts.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    };
    const rect = document.querySelector("rect.ground");
    const ground = light(rect ? getComputedStyle(rect).fill : getComputedStyle(document.body).backgroundColor);
    if (ground < 0.5 !== dark()) found.push("the ground is not the theme's");
    for (const element of document.querySelectorAll("text, p, td, th, li, figcaption, pre")) {
        const style = getComputedStyle(element);
        const ink = light(element.tagName === "text" ? style.fill : style.color);
        const contrast = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
        if (contrast < 4.5) found.push(`a contrast of ${contrast.toFixed(1)}: ${name(element)}`);
    }
}

// Links may lead elsewhere; nothing else does.
function requests() {
    const asking = document.querySelectorAll("[src], link, object, embed, image, use, [href]:not(a), [action]");
    for (const element of asking) found.push(`may ask for something: ${name(element)}`);
    if (document.scripts.length !== 1) found.push("there is a script");
    const style = (element) => element.getAttribute("style") ?? element.textContent;
    const css = [...document.querySelectorAll("style, [style]")].map(style);
    if (/url\(|@import/i.test(css.join())) found.push("the style may ask for something");
    for (const entry of performance.getEntriesByType("resource")) found.push(`asked for ${entry.name}`);
}

addEventListener("securitypolicyviolation", (event) => found.push(`asked for ${event.blockedURI}`));
addEventListener("load", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
    for (const check of [widths, drawings, colors, requests]) check();
    parent.postMessage({ found, dark: dark() }, "*");
});
