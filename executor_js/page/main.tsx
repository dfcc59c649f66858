/** Starts the page. */

import { createRoot } from "react-dom/client";
import { App } from "./app";
import { startTheme } from "./lib/theme";
import { startSession } from "./state/session";
import "./styles.css";

startTheme();
void startSession();
const root = document.getElementById("root");
if (root) createRoot(root).render(<App />);
