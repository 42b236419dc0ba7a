// What the linter demands of the page's JavaScript. tests/lint_page.py runs it, with NODE_PATH at the packages.
const js = require("@eslint/js");
const globals = require("globals");

const MARKUP = "A prompt must never become markup: use textContent.";
const POLICY = "The page's Content-Security-Policy forbids it.";
const MARKUP_NAMES = ["innerHTML", "outerHTML", "srcdoc", "insertAdjacentHTML", "setHTMLUnsafe", "createContextualFragment"];

module.exports = [
    js.configs.recommended,
    {
        linterOptions: { noInlineConfig: true },
        languageOptions: { ecmaVersion: 2022, sourceType: "module", globals: globals.browser },
        rules: {
            "array-callback-return": "error",
            "consistent-return": "error",
            "default-case-last": "error",
            eqeqeq: "error",
            "max-len": ["error", { code: 120 }],
            "max-lines": ["error", 250],
            "no-alert": "error",
            "no-console": "error",
            "no-eval": "error",
            "no-implied-eval": "error",
            "no-new-func": "error",
            "no-self-compare": "error",
            "no-shadow": "error",
            "no-throw-literal": "error",
            "no-unreachable-loop": "error",
            "no-unused-expressions": "error",
            "no-use-before-define": ["error", { functions: false, variables: false }],
            "no-useless-assignment": "error",
            "no-var": "error",
            "object-shorthand": "error",
            "prefer-arrow-callback": "error",
            "prefer-const": "error",
            "prefer-template": "error",
            "no-restricted-globals": [
                "error",
                { name: "event", message: "Take the event as an argument." },
            ],
            "no-restricted-properties": [
                "error",
                ...MARKUP_NAMES.map((property) => ({ property, message: MARKUP })),
                { object: "document", property: "write", message: MARKUP },
                { object: "document", property: "writeln", message: MARKUP },
                { object: "document", property: "cookie", message: "The session's cookie is HttpOnly." },
            ],
            "no-restricted-syntax": [
                "error",
                { selector: `Property[key.name=/^(${MARKUP_NAMES.join("|")})$/]`, message: MARKUP },
                {
                    selector: "CallExpression[callee.property.name='setAttribute'][arguments.0.value=/^(style|srcdoc|on.*)$/i]",
                    message: POLICY,
                },
                {
                    selector: "Literal[value=/^\\s*((https?|wss?):)?[/][/](?!www[.]w3[.]org[/])/i]",
                    message: "The page talks to no other host.",
                },
                {
                    selector: "TemplateElement[value.raw=/^\\s*((https?|wss?):)?[/][/]/i]",
                    message: "The page talks to no other host.",
                },
            ],
        },
    },
];
