import 'uplot/dist/uPlot.min.css';
import { render } from 'preact';
import { App } from './App';
import './styles/base.css';
import './styles/controls.css';
import './styles/frame.css';
import './styles/phones.css';
import './styles/wire.css';
import './styles/live.css';
import './styles/connections.css';
import './styles/small.css';

render(<App />, document.getElementById('app')!);
