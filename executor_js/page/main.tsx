/** Starts the page. */

import { createRoot } from "react-dom/client";
import { App } from "./app";
import { startTheme } from "./lib/theme";
import { watchSession } from "./state/session";
import { start } from "./state/sign-in-link";
import "./styles.css";

startTheme();
watchSession();
start();
const root = document.getElementById("root");
if (root) createRoot(root).render(<App />);
